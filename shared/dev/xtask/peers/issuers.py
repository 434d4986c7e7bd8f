"""Tokens in the shape of those that CI systems and workloads have, and what the certificate authority makes of them.

    PORT FULCIO [PATH:N ...]    the issuers are at http://localhost:PORT/PATH; FULCIO has the configuration issuers.yaml. PATH:N is an
                                extension of the table that this authority is known not to write

Each certificate is compared with the table in Fulcio's documents (docs/oid-info.md), extension by extension: none missing, none too many, the
bytes of each. Issuer, tokens and reading of certificates share nothing with ours.
"""

import base64
import http.server
import json
import sys
import threading
import time
import urllib.error
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

ARC = "1.3.6.1.4.1.57264.1."
SHA, CONFIG_SHA = "a" * 40, "b" * 40

GITHUB = {
    "sub": "repo:octo/app:environment:release",
    "job_workflow_ref": "octo/shared/.github/workflows/build.yml@refs/tags/v1",
    "job_workflow_sha": CONFIG_SHA,
    "workflow_ref": "octo/app/.github/workflows/release.yml@refs/tags/v2",
    "workflow_sha": SHA,
    "workflow": "release",
    "sha": SHA,
    "ref": "refs/tags/v2",
    "event_name": "push",
    "repository": "octo/app",
    "repository_id": "1234",
    "repository_owner": "octo",
    "repository_owner_id": "5678",
    "repository_visibility": "private",
    "runner_environment": "github-hosted",
    "run_id": "99",
    "run_attempt": "3",
    "environment": "release",
    "actor": "somebody",
    "base_ref": "",
    "head_ref": "",
    "ref_type": "tag",
}
GITLAB = {
    "sub": "project_path:group/app:ref_type:branch:ref:main",
    "namespace_id": "11",
    "namespace_path": "group",
    "project_id": "22",
    "project_path": "group/app",
    "project_visibility": "public",
    "user_login": "somebody",
    "pipeline_id": "33",
    "pipeline_source": "push",
    "job_id": "44",
    "ref": "main",
    "ref_type": "branch",
    "runner_id": 55,
    "runner_environment": "gitlab-hosted",
    "sha": SHA,
    "ci_config_ref_uri": "gitlab.com/group/app//.gitlab-ci.yml@refs/heads/main",
    "ci_config_sha": CONFIG_SHA,
    "environment": "production",
}
BUILDKITE = {
    "sub": "organization:octo:pipeline:app:ref:refs/heads/main:commit:" + SHA + ":step:build",
    "organization_slug": "octo",
    "pipeline_slug": "app",
    "build_number": 7,
    "build_branch": "main",
    "build_tag": "",
    "build_commit": SHA,
    "build_source": "webhook",
    "step_key": "build",
    "job_id": "0190-abcd",
    "agent_id": "0191-abcd",
    "runner_environment": "self-hosted",
}
SPIFFE = {"sub": "spiffe://example.org/ns/build/sa/signer"}

GITHUB_TABLE = {
    2: "push",
    3: SHA,
    4: "release",
    5: "octo/app",
    6: "refs/tags/v2",
    9: "https://github.com/octo/shared/.github/workflows/build.yml@refs/tags/v1",
    10: CONFIG_SHA,
    11: "github-hosted",
    12: "https://github.com/octo/app",
    13: SHA,
    14: "refs/tags/v2",
    15: "1234",
    16: "https://github.com/octo",
    17: "5678",
    18: "https://github.com/octo/app/.github/workflows/release.yml@refs/tags/v2",
    19: SHA,
    20: "push",
    21: "https://github.com/octo/app/actions/runs/99/attempts/3",
    22: "private",
    23: "release",
}
GITLAB_TABLE = {
    9: "https://gitlab.com/group/app//.gitlab-ci.yml@refs/heads/main",
    10: CONFIG_SHA,
    11: "gitlab-hosted",
    12: "https://gitlab.com/group/app",
    13: SHA,
    14: "refs/heads/main",
    15: "22",
    16: "https://gitlab.com/group",
    17: "11",
    18: "https://gitlab.com/group/app//.gitlab-ci.yml@refs/heads/main",
    19: CONFIG_SHA,
    20: "push",
    21: "https://gitlab.com/group/app/-/jobs/44",
    22: "public",
    23: "production",
}
BUILDKITE_TABLE = {
    11: "self-hosted",
    13: SHA,
    20: "webhook",
    21: "https://buildkite.com/octo/app/builds/7#0190-abcd",
}
GITHUB_NAME = GITHUB_TABLE[9]
GITLAB_NAME = GITLAB_TABLE[9]
BUILDKITE_NAME = "https://buildkite.com/octo/app"

# path, claims, alternative name, {number: text}. Those below ci/ are described by templates, the others are built in.
CASES = [
    ("github", GITHUB, GITHUB_NAME, GITHUB_TABLE),
    ("ci/github", GITHUB, GITHUB_NAME, GITHUB_TABLE),
    ("gitlab", GITLAB, GITLAB_NAME, GITLAB_TABLE),
    ("ci/gitlab", GITLAB, GITLAB_NAME, GITLAB_TABLE),
    ("buildkite", BUILDKITE, BUILDKITE_NAME, {}),
    ("ci/buildkite", BUILDKITE, BUILDKITE_NAME, BUILDKITE_TABLE),
    ("spiffe", SPIFFE, SPIFFE["sub"], {}),
]

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def token(issuer, claims):
    now = int(time.time())
    claims = {**claims, "iss": issuer, "aud": "sigstore", "iat": now, "nbf": now, "exp": now + 300, "jti": number(time.time_ns())}
    header = {"alg": "RS256", "kid": "one", "typ": "JWT"}
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return signed + "." + base64url(KEY.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))


class Issuers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        base = f"http://localhost:{self.server.server_port}"
        discovery = "/.well-known/openid-configuration"
        if self.path.endswith(discovery):
            issuer = base + self.path.removesuffix(discovery)
            self.answer(
                {
                    "issuer": issuer,
                    "jwks_uri": issuer + "/keys",
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "subject_types_supported": ["public"],
                    "response_types_supported": ["id_token"],
                }
            )
        elif self.path.endswith("/keys"):
            public = KEY.public_key().public_numbers()
            key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "n": number(public.n), "e": number(public.e)}
            self.answer({"keys": [key]})
        else:
            self.send_error(404)

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def certificate(fulcio, claims, token):
    key = ec.generate_private_key(ec.SECP256R1())
    proof = key.sign(claims["sub"].encode(), ec.ECDSA(hashes.SHA256()))
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = {
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": pem.decode()},
            "proofOfPossession": base64.b64encode(proof).decode(),
        },
    }
    request = urllib.request.Request(
        fulcio + "/api/v2/signingCert", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        answer = json.load(urllib.request.urlopen(request, timeout=20))
    except urllib.error.HTTPError as error:
        sys.exit(f"{claims['sub']}: {error.code} {error.read().decode()}")
    leaf = x509.load_pem_x509_certificate(answer["signedCertificateEmbeddedSct"]["chain"]["certificates"][0].encode())
    assert leaf.public_key() == key.public_key(), "another key"
    return leaf


def utf8(text):
    data = text.encode()
    length = len(data)
    head = [length] if length < 0x80 else [0x81, length] if length < 0x100 else [0x82, length >> 8, length & 0xFF]
    return bytes([0x0C, *head]) + data


def compare(leaf, issuer, claims, name, table):
    wanted = {**table, 1: issuer, 8: issuer, 24: claims["sub"]}
    # The first six are the bare text, the others DER.
    wanted = {n: text.encode() if n < 7 else utf8(text) for n, text in wanted.items()}
    found, order = {}, []
    for extension in leaf.extensions:
        if extension.oid.dotted_string.startswith(ARC):
            n = int(extension.oid.dotted_string.removeprefix(ARC))
            assert not extension.critical and n not in found, n
            found[n] = extension.value.value
            order.append(n)
    different = {n: (found.get(n), wanted.get(n)) for n in {*found, *wanted} if found.get(n) != wanted.get(n)}
    assert not different, f"found, wanted: {different}"
    assert order == sorted(order), order
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical and len(names.value) == 1, names
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [name], names
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CODE_SIGNING], purposes
    scts = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    assert len(scts) == 1, scts
    assert not leaf.subject.rdns, leaf.subject


def main():
    port, fulcio, unwritten = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    server = http.server.ThreadingHTTPServer(("localhost", port), Issuers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for path, claims, name, table in CASES:
        issuer = f"http://localhost:{port}/{path}"
        leaf = certificate(fulcio, claims, token(issuer, claims))
        table = {n: text for n, text in table.items() if f"{path}:{n}" not in unwritten}
        try:
            compare(leaf, issuer, claims, name, table)
        except AssertionError as error:
            sys.exit(f"{path}: {error}")
        print(f"{path}: {len(table) + 3} extensions")


main()
