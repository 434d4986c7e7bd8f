"""Questions to a timestamp authority that only a program can ask.

    same OURS THEIRS         both are asked the same, and answer with the same status, media type and message
    reload URL FOLDER NEW    asks without a pause while chain.pem and key.pem in FOLDER become those in NEW: no request may fail
"""

import base64
import json
import re
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request

DIGEST = bytes(range(32))
QUERY, REPLY, JSON = "application/timestamp-query", "application/timestamp-reply", "application/json"


def tlv(tag, *parts):
    body = b"".join(parts)
    length = len(body)
    if length < 0x80:
        head = bytes([length])
    else:
        octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
        head = bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + head + body


def query(algorithm="608648016503040201", digest=DIGEST, *more, version=1):
    oid = tlv(6, bytes.fromhex(algorithm))
    imprint = tlv(0x30, tlv(0x30, oid, tlv(5)), tlv(4, digest))
    return tlv(0x30, tlv(2, bytes([version])), imprint, *more)


def form(**more):
    return json.dumps({"artifactHash": base64.b64encode(DIGEST).decode(), "hashAlgorithm": "sha256", **more}).encode()


def ask(url, body=None, kind=QUERY, accept=None, method=None):
    headers = {"Content-Type": kind} if body is not None else {}
    if accept:
        headers["Accept"] = accept
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers.get_content_type(), answer.read()


SHA1, MD5, SHA384 = "2b0e03021a", "2a864886f70d0205", "608648016503040202"
STAMP, CHAIN = "/api/v1/timestamp", "/api/v1/timestamp/certchain"
EXTENSION = tlv(0xA0, tlv(0x30, tlv(6, bytes([42, 3, 4])), tlv(4, b"x")))
CASES = {
    "plain": (STAMP, query()),
    "with certificates": (STAMP, query("608648016503040201", DIGEST, tlv(2, b"\x07"), tlv(1, b"\xff"))),
    "a nonce of 20 bytes": (STAMP, query("608648016503040201", DIGEST, tlv(2, b"\x11" * 20))),
    "the default policy": (STAMP, query("608648016503040201", DIGEST, tlv(6, bytes.fromhex("2b0601040183bf3002")))),
    "another policy": (STAMP, query("608648016503040201", DIGEST, tlv(6, bytes([42, 3, 4])))),
    "an extension": (STAMP, query("608648016503040201", DIGEST, EXTENSION)),
    "SHA-1": (STAMP, query(SHA1, bytes(20))),
    "MD5": (STAMP, query(MD5, bytes(16))),
    "a digest of another length": (STAMP, query(SHA384, DIGEST)),
    "nonsense": (STAMP, b"nonsense"),
    "nothing": (STAMP, b""),
    "JSON": (STAMP, form(), JSON),
    "JSON with parameters": (STAMP, form(), JSON + "; charset=utf-8"),
    "JSON in capitals": (STAMP, form(hashAlgorithm="SHA256", certificates=True), JSON),
    "JSON, a large nonce": (STAMP, form(nonce=2**159 + 1), JSON),
    "JSON, no nonce": (STAMP, form(nonce=None), JSON),
    "JSON, the default policy": (STAMP, form(tsaPolicyOID="1.3.6.1.4.1.57264.2"), JSON),
    "JSON, another policy": (STAMP, form(tsaPolicyOID="1.2.3"), JSON),
    "JSON, a policy that is none": (STAMP, form(tsaPolicyOID="1.x"), JSON),
    "JSON, an endless policy": (STAMP, form(tsaPolicyOID="1" + ".1" * 200), JSON),
    "JSON, SHA-1": (STAMP, form(hashAlgorithm="sha1"), JSON),
    "JSON, MD5": (STAMP, form(hashAlgorithm="md5"), JSON),
    "JSON, no algorithm": (STAMP, b"{}", JSON),
    "JSON, no digest": (STAMP, b'{"hashAlgorithm":"sha256"}', JSON),
    "JSON, no base64": (STAMP, form(artifactHash="%"), JSON),
    "JSON, another length": (STAMP, form(hashAlgorithm="sha512"), JSON),
    "JSON, too large": (STAMP, form(padding="x" * 1100), JSON),
    "JSON, a text as nonce": (STAMP, form(nonce="7"), JSON),
    "another type": (STAMP, query(), "text/plain"),
    "another answer wanted": (STAMP, query(), QUERY, JSON),
    "the chain": (CHAIN,),
    "no such path": ("/api/v1/nothing",),
    "a GET": (STAMP, None, None, None, "GET"),
    "a POST": (CHAIN, b"", QUERY),
    "ping": ("/ping",),
}


# Where we differ, and answer with this status.
BETTER = {
    # As upstream's later versions (timestamp-authority#1458).
    "JSON with parameters": 200,
    # Theirs is 500, without a body.
    "another answer wanted": 406,
}


def said(answer):
    """Status, and what a program can compare: of an error its code and message, else the media type."""
    status, kind, body = answer
    # Theirs says application/timestamp-reply of JSON, too.
    if body.startswith(b"{"):
        body = json.loads(body)
        # Go's maps have no order, and neither have the lists that are made of them.
        message = re.sub(r"\[(\S+ \S+)\]", lambda found: " ".join(sorted(found[1].split())), body["message"])
        return status, body["code"], message
    return status, kind


def same(ours, theirs):
    wrong = []
    for name, (path, *more) in CASES.items():
        one, other = ask(ours + path, *more), ask(theirs + path, *more)
        found, wanted = said(one), said(other)
        if name in BETTER:
            if one[0] != BETTER[name] or other[0] == one[0]:
                wrong.append((name, found, wanted))
        elif one[0] >= 400 and one[1] == REPLY:
            # A refused DER request: the same status, and the message in a TimeStampResp.
            if one[0] != other[0] or wanted[-1].encode() not in one[2]:
                wrong.append((name, one, wanted))
        elif found != wanted:
            wrong.append((name, found, wanted))
        elif path == CHAIN and one[0] == 200 and one[2].split() != other[2].split():
            wrong.append((name, "another chain", ""))
    for name, found, wanted in wrong:
        print(f"{name}: found {found}, wanted {wanted}")
    print(f"{len(CASES)} requests")
    sys.exit(1 if wrong else 0)


def reload(url, folder, new):
    def chain():
        return ask(url + CHAIN)[2]

    failed, made, going = [], [0], threading.Event()

    def work():
        while not going.is_set():
            answer = ask(url + STAMP, query())
            if answer[:2] != (200, REPLY):
                failed.append(answer)
            made[0] += 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    old, begun = chain(), time.monotonic()
    for name in ("chain.pem", "key.pem"):
        shutil.copy(f"{new}/{name}", f"{folder}/{name}")
    while chain() == old and time.monotonic() - begun < 30:
        time.sleep(0.1)
    going.set()
    for worker in workers:
        worker.join()
    if failed:
        sys.exit(f"{len(failed)} of {made[0]} requests failed: {failed[0]}")
    with open(f"{new}/chain.pem", "rb") as file:
        if chain().split() != file.read().split():
            sys.exit("the new chain was not taken")
    print(f"{made[0]} requests, none failed; taken after {time.monotonic() - begun:.1f} s")


{"same": same, "reload": reload}[sys.argv[1]](*sys.argv[2:])
