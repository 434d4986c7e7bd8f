# usage: python tuf-probes.py make SEED FOLDER | run FOLDER
# make: repositories, each with one or two things changed that a client has to notice or to live with, under FOLDER/NUMBER:
#   root.json (where a client begins), repository/ (as it is served), case.json {"name": [changes], "target": name, "content": text}
# run: follows each with python-tuf and prints {NUMBER: [accepted, word]} as JSON.
import copy
import datetime
import hashlib
import json
import os
import random
import sys
import tempfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.formats import encode_canonical

FAR = "2099-01-01T00:00:00Z"
PAST = "2020-01-01T00:00:00Z"
TOP = ["root", "timestamp", "snapshot", "targets"]


class Key:
    """An Ed25519 key whose id is the hash of its canonical form."""

    def __init__(self, number):
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": raw.hex()}}
        self.id = hashlib.sha256(encode_canonical(self.public).encode()).hexdigest()

    def sign(self, message):
        return {"keyid": self.id, "sig": self.private.sign(message).hex()}


KEYS = [Key(number) for number in range(1, 20)]


class Repository:
    """Two roots (2 of 3 keys each, one of which changes), all roles, one of a team, consistent snapshots."""

    def __init__(self):
        self.files = {}
        self.signers = {
            "1.root": [KEYS[0], KEYS[1], KEYS[2]],
            "root": [KEYS[0], KEYS[1], KEYS[3]],
            "timestamp": [KEYS[4]],
            "snapshot": [KEYS[5]],
            "targets": [KEYS[6], KEYS[7]],
            "team": [KEYS[8], KEYS[9]],
        }
        self.after = {}  # changes of the file of a role, once it is signed
        common = {"spec_version": "1.0.31", "expires": FAR}
        roots = []
        for version, keys in [(1, KEYS[0:3]), (2, [KEYS[0], KEYS[1], KEYS[3]])]:
            used = keys + KEYS[4:8]
            roots.append({
                "_type": "root", "version": version, "consistent_snapshot": True, **common,
                "keys": {key.id: key.public for key in used},
                "roles": {
                    "root": {"keyids": [key.id for key in keys], "threshold": 2},
                    "timestamp": {"keyids": [KEYS[4].id], "threshold": 1},
                    "snapshot": {"keyids": [KEYS[5].id], "threshold": 1},
                    "targets": {"keyids": [KEYS[6].id, KEYS[7].id], "threshold": 2},
                },
            })
        self.says = {
            "1.root": roots[0],
            "root": roots[1],
            "timestamp": {"_type": "timestamp", "version": 5, **common, "meta": {}},
            "snapshot": {"_type": "snapshot", "version": 4, **common, "meta": {}},
            "targets": {
                "_type": "targets", "version": 3, **common, "targets": {},
                "delegations": {
                    "keys": {key.id: key.public for key in KEYS[8:10]},
                    "roles": [{
                        "name": "team", "keyids": [KEYS[8].id, KEYS[9].id], "threshold": 2,
                        "terminating": False, "paths": ["team/*"],
                    }],
                },
            },
            "team": {"_type": "targets", "version": 7, **common, "targets": {}},
        }
        self.contents = {"file.txt": b"a file", "team/file.txt": b"a file of the team"}
        self.listed = {"file.txt": "targets", "team/file.txt": "team"}
        self.meta = {"team": {}, "targets": {}, "snapshot": {}}  # changes of what a role is promised to be
        self.name = {}  # files under another name

    def seal(self, role):
        signed = self.says[role]
        try:
            message = encode_canonical(signed).encode()
        except Exception:
            message = json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()
        signatures = [key.sign(message) for key in self.signers[role]]
        document = {"signatures": signatures, "signed": signed}
        change = self.after.get(role)
        if change is not None:
            changed = change(document)
            if isinstance(changed, bytes):
                return changed
            document = changed
        return json.dumps(document).encode()

    def write(self, folder):
        for name, role in self.listed.items():
            content = self.contents[name]
            entry = self.says[role]["targets"].setdefault(name, {})
            entry.setdefault("length", len(content))
            entry.setdefault("hashes", {"sha256": hashlib.sha256(content).hexdigest()})
        above = {"team": ("snapshot", "team.json"), "targets": ("snapshot", "targets.json"),
                 "snapshot": ("timestamp", "snapshot.json")}
        for role in ["team", "targets", "snapshot", "timestamp", "root", "1.root"]:
            content = self.seal(role)
            if role in above:
                holder, name = above[role]
                promise = {
                    "version": self.says[role].get("version", 1), "length": len(content),
                    "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
                }
                change = self.meta[role]
                for member, value in change.items():
                    if value is None:
                        promise.pop(member, None)
                    else:
                        promise[member] = value
                if change != {"entry": None}:
                    promise.pop("entry", None)
                    self.says[holder]["meta"].setdefault(name, promise)
            self.files[role] = content
        repository = os.path.join(folder, "repository")
        os.makedirs(os.path.join(repository, "targets", "team"), exist_ok=True)
        names = {"1.root": "1.root.json", "root": "2.root.json", "timestamp": "timestamp.json",
                 "snapshot": "4.snapshot.json", "targets": "3.targets.json", "team": "7.team.json"}
        for role, name in names.items():
            name = self.name.get(role, name)
            if name:
                with open(os.path.join(repository, name), "wb") as file:
                    file.write(self.files[role])
        for name, role in self.listed.items():
            hashed = hashlib.sha256(self.contents[name]).hexdigest()
            content = self.served.get(name, self.contents[name]) if hasattr(self, "served") else self.contents[name]
            if content is not None:
                head, _, tail = name.rpartition("/")
                path = os.path.join(repository, "targets", head, f"{hashed}.{tail}")
                with open(path, "wb") as file:
                    file.write(content)
        with open(os.path.join(folder, "root.json"), "wb") as file:
            file.write(self.files["1.root"])


def changes():
    """Every change by its name: what it does to a repository, and the target that is asked for."""
    found = {}

    def add(name, change, target="file.txt"):
        assert name not in found, name
        found[name] = (change, target)

    def of(role):
        return "team/file.txt" if role == "team" else "file.txt"

    def setting(role, member, value):
        def change(repository):
            if value is None:
                repository.says[role].pop(member, None)
            else:
                repository.says[role][member] = value
        return change

    roles = ["root", "timestamp", "snapshot", "targets", "team"]
    add("nothing", lambda repository: None)
    add("nothing, of the team", lambda repository: None, "team/file.txt")
    for role in roles:
        for word, value in [("zero", 0), ("negative", -1), ("of text", "3"), ("missing", None), ("a fraction", 1.5),
                            ("null", "NULL"), ("larger", 1000)]:
            value = None if value == "NULL" else value
            if word == "null":
                def change(repository, role=role):
                    repository.says[role]["version"] = None
                add(f"{role}: version null", change, of(role))
            else:
                add(f"{role}: version {word}", setting(role, "version", value), of(role))
        for word, value in [("past", PAST), ("malformed", "2099-13-01T00:00:00Z"), ("with a fraction", "2099-01-01T00:00:00.5Z"),
                            ("with an offset", "2099-01-01T00:00:00+01:00"), ("without a zone", "2099-01-01T00:00:00"),
                            ("missing", None), ("a number", 4070908800), ("a day", "2099-01-01")]:
            add(f"{role}: expires {word}", setting(role, "expires", value), of(role))
        for word, value in [("2.0.0", "2.0.0"), ("1.0", "1.0"), ("1", "1"), ("1.9.9", "1.9.9"), ("words", "one"),
                            ("0.9.0", "0.9.0"), ("missing", None), ("a number", 1)]:
            add(f"{role}: spec_version {word}", setting(role, "spec_version", value), of(role))
        for word, value in [("of another role", "mirrors"), ("missing", None), ("in capitals", "Root")]:
            add(f"{role}: _type {word}", setting(role, "_type", value), of(role))
        add(f"{role}: an unknown field", setting(role, "x-unknown", {"a": [1, None, True, "\u00e9\u2028"]}), of(role))

        def after(word, change, role=role):
            def put(repository):
                repository.after[role] = change
            add(f"{role}: {word}", put, of(role))

        after("no signature", lambda document: {**document, "signatures": []})
        after("signatures missing", lambda document: {"signed": document["signed"]})
        after("one signature of the first key", lambda document: {**document, "signatures": document["signatures"][:1]})
        after("the first signature twice", lambda document: {
            **document, "signatures": [document["signatures"][0], document["signatures"][0]]})
        after("all signatures, the first twice", lambda document: {
            **document, "signatures": document["signatures"] + document["signatures"][:1]})
        after("a signature with a flipped bit", lambda document: {
            **document, "signatures": [{**one, "sig": ("0" if one["sig"][0] != "0" else "1") + one["sig"][1:]}
                                       for one in document["signatures"]]})
        after("empty signatures beside", lambda document: {
            **document, "signatures": document["signatures"] + [{"keyid": KEYS[15].id, "sig": ""}]})
        after("no hex beside", lambda document: {
            **document, "signatures": document["signatures"] + [{"keyid": KEYS[15].id, "sig": "zz"}]})
        after("a stranger's signature beside", lambda document: {
            **document, "signatures": document["signatures"]
            + [KEYS[15].sign(encode_canonical(document["signed"]).encode())]})
        after("signatures in capitals", lambda document: {
            **document, "signatures": [{**one, "sig": one["sig"].upper()} for one in document["signatures"]]})
        after("a member beside signed", lambda document: {**document, "extra": 1})
        after("a member in a signature", lambda document: {
            **document, "signatures": [{**one, "extra": 1} for one in document["signatures"]]})
        after("something behind", lambda document: json.dumps(document).encode() + b"{}")
        after("blanks around", lambda document: b" \n" + json.dumps(document, indent=3).encode() + b"\n\n")
        after("a byte order mark", lambda document: b"\xef\xbb\xbf" + json.dumps(document).encode())
        after("a member twice", lambda document: json.dumps(document).encode().replace(
            b'"signed": {', b'"signed": {"version": 9000, ', 1))
        after("half of it", lambda document: json.dumps(document).encode()[:200])
        after("nothing", lambda document: b"")
        after("a list", lambda document: [document])
        after("not UTF-8", lambda document: json.dumps(document).encode().replace(b'"_type"', b'"\xff_type"', 1))

        def stranger(repository, role=role):
            repository.signers[role] = [KEYS[15], KEYS[16]]
        add(f"{role}: signed by strangers", stranger, of(role))

        def absent(repository, role=role):
            repository.name[role] = None
        add(f"{role}: not there", absent, of(role))
    for role in ["team", "targets", "snapshot"]:
        for word, change in [
            ("version one higher", {"version": {"team": 8, "targets": 4, "snapshot": 5}[role]}),
            ("version one lower", {"version": {"team": 6, "targets": 2, "snapshot": 3}[role]}),
            ("version of text", {"version": "3"}), ("version missing", {"version": None}),
            ("version zero", {"version": 0}),
            ("length too short", {"length": 10}), ("length too long", {"length": 100000}),
            ("length zero", {"length": 0}), ("length negative", {"length": -1}), ("length of text", {"length": "900"}),
            ("length missing", {"length": None}), ("hashes missing", {"hashes": None}),
            ("neither length nor hashes", {"length": None, "hashes": None}),
            ("hash of other bytes", {"hashes": {"sha256": "0" * 64}}), ("no hash in hashes", {"hashes": {}}),
            ("hash of an unknown kind", {"hashes": {"whirlpool": "00"}}), ("hash too short", {"hashes": {"sha256": "00"}}),
            ("no hex as hash", {"hashes": {"sha256": "zz" * 32}}),
            ("an unknown member", {"x": 1}),
        ]:
            def change_meta(repository, role=role, change=change):
                repository.meta[role] = change
            add(f"{role} in meta: {word}", change_meta, of(role))

        def capitals(repository, role=role):
            inner = repository.seal

            def seal(wanted):
                content = inner(wanted)
                if wanted == role:
                    repository.meta[role] = {"hashes": {"sha256": hashlib.sha256(content).hexdigest().upper()}}
                return content
            repository.seal = seal
        add(f"{role} in meta: hash in capitals", capitals, of(role))

        def both(repository, role=role):
            inner = repository.seal

            def seal(wanted):
                content = inner(wanted)
                if wanted == role:
                    repository.meta[role] = {"hashes": {
                        "sha256": hashlib.sha256(content).hexdigest(), "sha512": "0" * 128}}
                return content
            repository.seal = seal
        add(f"{role} in meta: one hash right, one wrong", both, of(role))

        def unlisted(repository, role=role):
            repository.meta[role] = {"entry": None}
        add(f"{role}: not in meta", unlisted, of(role))
    for role in ["root", "timestamp", "snapshot", "targets"]:
        for word, value in [("zero", 0), ("negative", -1), ("too many", 10), ("of text", "1"), ("missing", None)]:
            def threshold(repository, role=role, value=value):
                entry = repository.says["root"]["roles"][role]
                if value is None:
                    del entry["threshold"]
                else:
                    entry["threshold"] = value
            add(f"root: threshold of {role} {word}", threshold)

        def unknown_type(repository, role=role):
            root = repository.says["root"]
            root["keys"]["ab" * 32] = {"keytype": "future", "scheme": "future", "keyval": {"public": "00"}}
            root["roles"][role]["keyids"].append("ab" * 32)
        add(f"root: a key of an unknown type for {role}", unknown_type)

        def absent_key(repository, role=role):
            repository.says["root"]["roles"][role]["keyids"].append("cd" * 32)
        add(f"root: a key of {role} that is not there", absent_key)

        def no_role(repository, role=role):
            del repository.says["root"]["roles"][role]
        add(f"root: no role {role}", no_role)

        def twice(repository, role=role):
            ids = repository.says["root"]["roles"][role]["keyids"]
            ids.append(ids[0])
        add(f"root: a key id of {role} twice", twice)

    def other_id(repository):
        for root in ["1.root", "root"]:
            keys = repository.says[root]["keys"]
            keys["ef" * 32] = keys.pop(KEYS[4].id)
            repository.says[root]["roles"]["timestamp"]["keyids"] = ["ef" * 32]
        repository.after["timestamp"] = lambda document: {
            **document, "signatures": [{**document["signatures"][0], "keyid": "ef" * 32}]}
    add("root: a key under another id than its hash", other_id)

    def one_key_two_ids(repository):
        root = repository.says["root"]
        root["keys"]["ef" * 32] = root["keys"][KEYS[6].id]
        root["roles"]["targets"]["keyids"] = [KEYS[6].id, "ef" * 32]
        repository.after["targets"] = lambda document: {
            **document, "signatures": [document["signatures"][0], {**document["signatures"][0], "keyid": "ef" * 32}]}
    add("root: one key under two ids fills a threshold of two", one_key_two_ids)

    def only(keys):
        def change(repository):
            repository.signers["root"] = keys
        return change
    add("root: signed by the new keys alone", only([KEYS[3]]))
    add("root: signed by one old and one new key", only([KEYS[0], KEYS[3]]))
    add("root: signed by the two keys that stay", only([KEYS[0], KEYS[1]]))
    add("root: signed by the old keys alone", only([KEYS[0], KEYS[2]]))

    def first_expired(repository):
        repository.says["1.root"]["expires"] = PAST
    add("root: the first one expired, the second not", first_expired)

    def inconsistent(repository):
        repository.says["root"]["consistent_snapshot"] = False
    add("root: consistent snapshots off, files as if on", inconsistent)

    def consistency_missing(repository):
        del repository.says["root"]["consistent_snapshot"]
    add("root: nothing about consistent snapshots", consistency_missing)

    def delegation(word, change, target="team/file.txt"):
        def put(repository):
            change(repository.says["targets"]["delegations"]["roles"][0], repository)
        add(f"delegation: {word}", put, target)

    delegation("of other paths", lambda role, _: role.update(paths=["other/*"]))
    delegation("of all paths", lambda role, _: role.update(paths=["*"]))
    delegation("of a path with two stars", lambda role, _: role.update(paths=["*/*"]))
    delegation("of this very path", lambda role, _: role.update(paths=["team/file.txt"]))
    delegation("by a question mark", lambda role, _: role.update(paths=["team/?ile.txt"]))
    delegation("by brackets", lambda role, _: role.update(paths=["team/[f]ile.txt"]))
    delegation("of no paths", lambda role, _: role.update(paths=[]))
    delegation("with neither paths nor prefixes", lambda role, _: role.pop("paths"))

    def prefixes(role, values, both=False):
        if not both:
            role.pop("paths")
        role["path_hash_prefixes"] = values
    digest = hashlib.sha256(b"team/file.txt").hexdigest()
    delegation("by a hash prefix", lambda role, _: prefixes(role, [digest[:2]]))
    delegation("by a whole hash", lambda role, _: prefixes(role, [digest]))
    delegation("by a hash prefix in capitals", lambda role, _: prefixes(role, [digest[:4].upper()]))
    delegation("by another hash prefix", lambda role, _: prefixes(role, ["ff" if digest[:2] != "ff" else "00"]))
    delegation("by an empty hash prefix", lambda role, _: prefixes(role, [""]))
    delegation("with paths and prefixes", lambda role, _: prefixes(role, [digest[:2]], True))
    delegation("terminating", lambda role, _: role.update(terminating=True))
    delegation("terminating missing", lambda role, _: role.pop("terminating"))
    delegation("terminating of text", lambda role, _: role.update(terminating="false"))
    delegation("threshold zero", lambda role, _: role.update(threshold=0))
    delegation("threshold too high", lambda role, _: role.update(threshold=3))
    delegation("threshold one", lambda role, _: role.update(threshold=1))
    delegation("no keys", lambda role, _: role.update(keyids=[]))
    delegation("a key that is not there", lambda role, _: role["keyids"].append("cd" * 32))
    delegation("an unknown member", lambda role, _: role.update(x=1))
    delegation("another name", lambda role, _: role.update(name="other"))
    delegation("the name of a role at the top", lambda role, _: role.update(name="snapshot"))
    delegation("broken, another target wanted", lambda role, _: role.update(threshold=0), "file.txt")

    def doubled(role, repository):
        repository.says["targets"]["delegations"]["roles"].append(copy.deepcopy(role))
    delegation("twice", doubled)

    def circle(role, repository):
        repository.says["team"]["delegations"] = {
            "keys": repository.says["targets"]["delegations"]["keys"],
            "roles": [{**role, "name": "team"}],
        }
        repository.listed.pop("team/file.txt")
    delegation("in a circle, and no such target", circle)

    def entry(word, change, target="file.txt"):
        def put(repository):
            content = repository.contents[target]
            value = {"length": len(content), "hashes": {"sha256": hashlib.sha256(content).hexdigest()}}
            changed = change(value)
            repository.says[repository.listed[target]]["targets"][target] = value if changed is None else changed
        add(f"target: {word}", put, target)

    entry("length too short", lambda value: value.update(length=1))
    entry("length too long", lambda value: value.update(length=100))
    entry("length negative", lambda value: value.update(length=-1))
    entry("length of text", lambda value: value.update(length="6"))
    entry("no hashes", lambda value: value.update(hashes={}))
    entry("hash of other bytes", lambda value: value.update(hashes={"sha256": "0" * 64}))
    entry("a second hash that is wrong", lambda value: value["hashes"].update(sha512="0" * 128))
    entry("a second hash of an unknown kind", lambda value: value["hashes"].update(whirlpool="00"))
    entry("custom of anything", lambda value: value.update(custom={"a": [1, {"b": None}]}))
    entry("custom with a number above 2^53", lambda value: value.update(custom={"a": 2**53 + 1}))
    entry("custom with control characters", lambda value: value.update(custom={"a": "\u0000\u001f\"\\\u007f"}))
    entry("an unknown member", lambda value: value.update(x=1))

    def served(word, make, target="file.txt"):
        def put(repository):
            repository.served = {target: make(repository.contents[target])}
        add(f"content: {word}", put, target)

    served("another one of that length", lambda content: b"x" * len(content))
    served("something behind", lambda content: content + b"x")
    served("shorter", lambda content: content[:-1])
    served("not there", lambda content: None)
    served("another one, of the team", lambda content: b"x" * len(content), "team/file.txt")
    return found


def make(seed, folder):
    known = changes()
    cases = [[name] for name in known]
    chooser = random.Random(seed)
    names = sorted(known)
    for _ in range(60):
        pair = chooser.sample(names, 2)
        cases.append(pair)
    number = 0
    for names in cases:
        repository = Repository()
        target = "file.txt"
        try:
            for name in names:
                change, wanted = known[name]
                change(repository)
                if wanted != "file.txt":
                    target = wanted
            place = os.path.join(folder, f"{number:04}")
            os.makedirs(place)
            repository.write(place)
        except (KeyError, IndexError, TypeError, AttributeError):
            if len(names) == 1:
                raise
            continue  # two changes of which one takes away what the other one changes
        with open(os.path.join(place, "case.json"), "w", encoding="utf-8") as file:
            json.dump({"name": names, "target": target, "content": repository.contents[target].decode()}, file)
        number += 1
    print(number)


def run(folder):
    from tuf.api.exceptions import DownloadHTTPError
    from tuf.ngclient import FetcherInterface, Updater

    class Folder(FetcherInterface):
        def _fetch(self, url):
            path = url.removeprefix("http://probe/")
            try:
                with open(path, "rb") as file:
                    yield file.read()
            except (FileNotFoundError, NotADirectoryError) as error:
                raise DownloadHTTPError(path, 404) from error

    verdicts = {}
    for case in sorted(os.listdir(folder)):
        place = os.path.abspath(os.path.join(folder, case))
        with open(os.path.join(place, "case.json"), encoding="utf-8") as file:
            wanted = json.load(file)
        with open(os.path.join(place, "root.json"), "rb") as file:
            bootstrap = file.read()
        with tempfile.TemporaryDirectory() as cache:
            try:
                updater = Updater(
                    cache, f"http://probe/{place}/repository", cache, f"http://probe/{place}/repository/targets",
                    fetcher=Folder(), bootstrap=bootstrap)
                updater.refresh()
                info = updater.get_targetinfo(wanted["target"])
                if info is None:
                    verdicts[case] = [False, "no target"]
                    continue
                with open(updater.download_target(info), "rb") as file:
                    same = file.read() == wanted["content"].encode()
                verdicts[case] = [same, "accepted" if same else "another content"]
            except Exception as error:
                verdicts[case] = [False, f"{type(error).__name__}: {str(error)[:120]}"]
    print(json.dumps(verdicts))


if sys.argv[1] == "make":
    make(int(sys.argv[2]), sys.argv[3])
else:
    run(sys.argv[2])
