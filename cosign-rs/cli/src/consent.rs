//! Before something that may be nobody's business becomes public: what it is, word for word, and one question.
//!
//! Asked about are: who signs in by hand, a key of one's own, a job whose project is private, and an image in a registry that does not look like one
//! for everybody. Only where the log or the certificate authority is one that everybody uses; an instance of one's own is nobody else's business.
//!
//! Who agreed is not asked again: with `--yes` (or `COSIGN_YES=true`) for one run; with the variable [`VARIABLE`] or a line in the file [`FILE`] for a
//! place. Where nobody is there to ask, one of these has to be there, or nothing is signed.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::IdentityToken;
use keys::PublicKey;
use oci::Repository;
use pki::Certificate;
use sign::Services;
use url::{Host, Url};

use crate::failure::{advice, in_line, say};
use crate::trust_files::read_at_most;

/// Places of which the owner agrees, separated by commas.
pub(crate) const VARIABLE: &str = "COSIGN_PUBLIC_LOG_CONSENT";
/// The same, one on a line, below the folder for settings.
const FILE: &str = "cosign-rs/public-log-consent";
const FILE_MAX: u64 = 1 << 20;
/// Domains of the instances that everybody uses.
const PUBLIC: [&str; 2] = ["sigstore.dev", "sigstage.dev"];
/// Registries that serve everybody without asking who it is. What is in them may be private nevertheless, which nobody can tell by its name.
const OPEN_REGISTRIES: [&str; 16] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "public.ecr.aws",
    "mcr.microsoft.com",
    "registry.gitlab.com",
    "cgr.dev",
    "registry.access.redhat.com",
    "registry.fedoraproject.org",
    "lscr.io",
    "nvcr.io",
    "ttl.sh",
];

/// Who is about to sign.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'a> {
    /// Somebody who signed in by hand.
    Person(&'a IdentityToken),
    /// Whoever a token is of that was there already.
    Token(&'a IdentityToken),
    /// The holder of a key, and the certificate for it, where there is one.
    Key(&'a PublicKey, Option<&'a Certificate>),
}

/// Something that needs agreement, and why.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    name: String,
    why: &'static str,
}

/// Asks once, if there is anything to ask. `yes` is what the command line says. The answer is waited for on a thread of its own, so that whoever waits for it
/// may give up.
pub(crate) async fn ask(
    by: By<'_>,
    images: &[&Repository],
    services: &Services,
    yes: bool,
) -> Result<()> {
    if yes || !is_public(services) {
        return Ok(());
    }
    let consents = Consents::read()?;
    let open: Vec<Place> = places(by, images)
        .into_iter()
        .filter(|place| !consents.cover(&place.name))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    say(&text(by, services, &open));
    let names: Vec<&str> = open.iter().map(|place| place.name.as_str()).collect();
    if !std::io::stdin().is_terminal() {
        return Err(nobody(&names));
    }
    let answer = tokio::task::spawn_blocking(|| -> std::io::Result<String> {
        let mut err = std::io::stderr().lock();
        write!(err, "Continue? [y]es, [a]lways here, [N]o: ")?;
        err.flush()?;
        drop(err);
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.await??;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        "a" | "always" => remember(&names),
        _ => Err(advice(
            "not signed: nothing became public",
            "agree with --yes, or name services of your own with --trust-config",
        )),
    }
}

/// Before a person is asked to sign in: could they agree in the end?
pub(crate) fn foresee(services: &Services, yes: bool) -> Result<()> {
    let may = yes
        || !is_public(services)
        || std::io::stdin().is_terminal()
        || !Consents::read()?.0.is_empty();
    if may {
        return Ok(());
    }
    Err(nobody(&["your identity"]))
}

fn nobody(names: &[&str]) -> anyhow::Error {
    advice(
        "nobody is there to agree that this becomes public",
        format!(
            "agree with --yes (COSIGN_YES=true), or for these alone with {VARIABLE}={:?}",
            names.join(",")
        ),
    )
}

/// Whether anything of it is seen by everybody.
fn is_public(services: &Services) -> bool {
    let logs = services.logs().iter();
    // Whoever gives certificates logs them too.
    logs.chain(services.fulcio()).any(is_of_everybody)
}

fn is_of_everybody(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_end_matches('.');
        PUBLIC.iter().any(|domain| {
            host.strip_suffix(domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    })
}

fn places(by: By<'_>, images: &[&Repository]) -> Vec<Place> {
    let place = |name: String, why| Place { name, why };
    let mut places = Vec::new();
    match by {
        By::Person(token) => places.push(place(
            format!("identity {}", in_line(who(token))),
            "you sign in by hand, and your identity is in what is published",
        )),
        By::Token(token) => places.extend(token.private_project().map(|project| {
            place(
                format!("project {}", in_line(project)),
                "the token says that this project is not public",
            )
        })),
        By::Key(key, _) => places.push(place(
            format!("key {}", fingerprint(key)),
            "a log is not needed to sign with a key of one's own (--tlog-upload=false)",
        )),
    }
    for repository in images {
        let name = repository.to_string();
        if let Some(why) = looks_private(repository.host())
            && places.iter().all(|place| place.name != name)
        {
            places.push(place(name, why));
        }
    }
    places
}

fn who(token: &IdentityToken) -> &str {
    token.subject_for_proof().unwrap_or_default()
}

fn fingerprint(key: &PublicKey) -> String {
    format!("SHA256:{}", STANDARD.encode(key.key_id()))
}

/// Why a registry does not look like one for everybody; none if it does.
fn looks_private(host: &str) -> Option<&'static str> {
    const INTERNAL: [&str; 7] = [
        ".local",
        ".internal",
        ".lan",
        ".corp",
        ".intranet",
        ".home.arpa",
        ".localhost",
    ];
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        if digits { name } else { host }
    });
    let name = name.to_ascii_lowercase();
    if OPEN_REGISTRIES.contains(&name.as_str()) || name.ends_with(".gcr.io") {
        return None;
    }
    let address = matches!(Host::parse(&name), Ok(Host::Ipv4(_) | Host::Ipv6(_)));
    let internal = INTERNAL.iter().any(|end| name.ends_with(end));
    Some(if address || internal || !name.contains('.') {
        "its registry is in a network of its own"
    } else if name.ends_with(".azurecr.io")
        || name.ends_with("-docker.pkg.dev")
        || name.contains(".dkr.ecr.")
    {
        "its registry shows an image only to those who are let in"
    } else {
        "its registry is not one of those that serve everybody"
    })
}

fn text(by: By<'_>, services: &Services, open: &[Place]) -> String {
    let mut lines = vec!["This becomes public for ever, in logs that everybody can read and nothing is deleted from:".to_owned()];
    match by {
        By::Person(token) | By::Token(token) => {
            lines.push(format!(
                "  who signs   {}, by the word of {}",
                in_line(who(token)),
                in_line(token.issuer())
            ));
            lines.extend(
                token
                    .published_claims()
                    .map(|(name, value)| format!("              {name}: {}", in_line(value))),
            );
        }
        By::Key(key, certificate) => {
            lines.push(format!("  who signs   the key {}", fingerprint(key)));
            if let Some(certificate) = certificate {
                let mut names = vec![certificate.subject_text()];
                names.extend(certificate.subject_names().iter().map(ToString::to_string));
                names.retain(|name| !name.is_empty());
                lines.push(format!(
                    "              and its certificate, which names {}",
                    in_line(&names.join(", "))
                ));
            }
        }
    }
    lines.push(
        "  what        a digest of what is signed, the signature, and the time of it".to_owned(),
    );
    let seen = services.logs().iter().chain(services.fulcio());
    let seen: Vec<&str> = seen.map(Url::as_str).collect();
    lines.push(format!("  where       {}", seen.join(", ")));
    lines.push(
        "What does not: names of files and images, contents, statements about them.".to_owned(),
    );
    lines.push("You are asked because of".to_owned());
    lines.extend(
        open.iter()
            .map(|place| format!("  {}: {}", place.name, place.why)),
    );
    lines.join("\n")
}

/// What the owner agreed to before.
struct Consents(Vec<String>);

impl Consents {
    fn read() -> Result<Self> {
        let variable = std::env::var(VARIABLE).unwrap_or_default();
        let mut names: Vec<String> = variable.split(',').map(str::to_owned).collect();
        if let Some(path) = path().filter(|path| path.exists()) {
            let bytes = read_at_most(&path, FILE_MAX)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            names.extend(text.lines().map(str::to_owned));
        }
        Ok(Self::of(&names))
    }

    fn of(names: &[String]) -> Self {
        let names = names.iter().map(|name| name.trim());
        Self(
            names
                .filter(|name| !name.is_empty() && !name.starts_with('#'))
                .map(str::to_owned)
                .collect(),
        )
    }

    /// A name itself, or all below it: a registry, or the beginning of a repository's path.
    fn cover(&self, name: &str) -> bool {
        self.0.iter().any(|consent| {
            name.strip_prefix(consent.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

fn path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join(FILE))
}

fn remember(names: &[&str]) -> Result<()> {
    let path = path().context("there is no HOME to remember that in; answer yes")?;
    let writing = || format!("writing {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(writing)?;
    }
    append(&path, names).with_context(writing)?;
    say(&format!("remembered in {}", path.display()));
    Ok(())
}

/// Adds lines to a file, of which somebody may have written the last one without its end.
fn append(path: &Path, names: &[&str]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let before = if last == [b'\n'] { "" } else { "\n" };
    // One write, so that two runs do not mix their lines.
    let lines = format!("{before}{}\n", names.join("\n"));
    file.write_all(lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token, of which nobody checks the signature here.
    fn token(claims: &str) -> IdentityToken {
        let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}.{}", part("{}"), part(claims), part("x"));
        IdentityToken::parse(&text).unwrap()
    }

    fn services(host: &str) -> Services {
        let url = Url::parse(&format!("https://{host}")).unwrap();
        Services::new(url.clone(), vec![url.clone()], vec![url]).unwrap()
    }

    #[test]
    fn only_what_everybody_uses_is_public() {
        for (host, public) in [
            ("rekor.sigstore.dev", true),
            ("log2025-1.rekor.sigstore.dev", true),
            ("rekor.sigstage.dev", true),
            ("rekor.sigstore.dev.example.org", false),
            ("notsigstore.dev", false),
            ("localhost", false),
        ] {
            assert_eq!(is_public(&services(host)), public, "{host}");
        }
    }

    #[test]
    fn registries_are_known_by_their_names() {
        for host in [
            "docker.io",
            "ghcr.io",
            "eu.gcr.io",
            "public.ecr.aws",
            "ttl.sh",
        ] {
            assert_eq!(looks_private(host), None, "{host}");
        }
        for (host, why) in [
            ("localhost:5000", "network of its own"),
            ("10.0.0.7", "network of its own"),
            ("[fd00::1]:5000", "network of its own"),
            ("registry.corp:443", "network of its own"),
            ("harbor.team.internal", "network of its own"),
            ("acme.azurecr.io", "only to those"),
            ("1234.dkr.ecr.eu-west-1.amazonaws.com", "only to those"),
            ("europe-docker.pkg.dev", "only to those"),
            ("registry.example.com", "serve everybody"),
            ("ghcr.io.example.com", "serve everybody"),
        ] {
            let found = looks_private(host).unwrap_or_default();
            assert!(found.contains(why), "{host}: {found}");
        }
    }

    #[test]
    fn what_is_private_is_asked_about_and_what_is_not_is_not() {
        let person = token(r#"{"iss":"https://i","email":"a@b.c","email_verified":true}"#);
        let public = token(
            r#"{"iss":"https://g","sub":"s","repository":"o/r","repository_visibility":"public"}"#,
        );
        let private = token(
            r#"{"iss":"https://g","sub":"s","repository":"o/r","repository_visibility":"private"}"#,
        );
        let repository = |text: &str| Repository::parse(text).unwrap();
        let (open, closed) = (
            repository("ghcr.io/o/r"),
            repository("registry.example.com/team/app"),
        );
        let names = |by, images: &[&Repository]| -> Vec<String> {
            places(by, images)
                .into_iter()
                .map(|place| place.name)
                .collect()
        };
        assert_eq!(names(By::Person(&person), &[]), ["identity a@b.c"]);
        assert!(names(By::Token(&public), &[&open]).is_empty());
        assert_eq!(names(By::Token(&private), &[&open]), ["project o/r"]);
        assert_eq!(
            names(By::Token(&public), &[&closed, &closed]),
            ["registry.example.com/team/app"]
        );
        let gitlab = token(
            r#"{"iss":"https://l","sub":"s","project_path":"g/p","project_visibility":"internal"}"#,
        );
        assert_eq!(names(By::Token(&gitlab), &[]), ["project g/p"]);
        let text = text(
            By::Token(&private),
            &services("rekor.sigstore.dev"),
            &places(By::Token(&private), &[]),
        );
        for shown in [
            "s, by the word of https://g",
            "repository: o/r",
            "https://rekor.sigstore.dev/",
            "project o/r",
        ] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }

    #[test]
    fn a_consent_is_for_a_place_and_what_is_below_it() {
        let consents = Consents::of(&[
            "registry.example.com/team".into(),
            " # all".into(),
            String::new(),
            "project o/r".into(),
        ]);
        assert_eq!(consents.0.len(), 2);
        for (name, covered) in [
            ("registry.example.com/team", true),
            ("registry.example.com/team/app", true),
            ("registry.example.com/teams", false),
            ("registry.example.com", false),
            ("project o/r", true),
            ("project o/r2", false),
        ] {
            assert_eq!(consents.cover(name), covered, "{name}");
        }
    }

    #[test]
    fn a_line_that_was_written_by_hand_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("consent");
        append(&path, &["project o/r"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"project o/r\n");
        fs::write(&path, "# ours\nregistry.example.com").unwrap();
        append(&path, &["project o/r", "identity a@b.c"]).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "# ours\nregistry.example.com\nproject o/r\nidentity a@b.c\n"
        );
    }
}
