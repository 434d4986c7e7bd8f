//! `login`: keeps a password for a registry where Docker keeps its own, so that docker, podman and this program share it.
//!
//! In `config.json`, or by the credential helper that the file names for the registry or for all. The file is replaced as a whole, mode 0600; what we
//! do not know in it stays.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use oci::{Credentials, Keychain, Repository};
use serde_json::{Map, Value, json};
use wire::encoding::Bytes;
use zeroize::Zeroizing;

use super::targets::settings;
use crate::args::Login;
use crate::failure::{advice, say};
use crate::private_key;

/// The largest configuration, and the longest password.
const CONFIG_MAX: u64 = 1 << 20;
const PASSWORD_MAX: u64 = 64 << 10;
/// Docker Hub's name in configurations.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

pub(super) async fn run(arguments: Login) -> Result<()> {
    let server = server(&arguments.server);
    // Any name will do: it is the registry that is asked.
    let at = Repository::parse(&format!("{server}/login/login"))
        .with_context(|| format!("the registry {server}"))?;
    let user = match (&arguments.username, &arguments.registry.registry_username) {
        (Some(user), _) | (None, Some(user)) => user.clone(),
        (None, None) => {
            return Err(advice(
                "no name",
                "say who you are with --username, and pass the password with --password-stdin",
            ));
        }
    };
    let password = password(&arguments).await?;
    let mut settings = settings(&arguments.registry)?;
    let credentials = Credentials::Password {
        user: user.clone(),
        password: password.clone(),
    };
    settings.keychain = Keychain::given(credentials, [&at]);
    if !arguments.unchecked {
        oci::Registry::new(settings)
            .ping(&at)
            .await
            .with_context(|| format!("logging in to {server} as {user}"))?;
    }
    let key = if at.host() == "index.docker.io" {
        DOCKER_HUB.to_owned()
    } else {
        at.host().to_owned()
    };
    let file = config_file()?;
    let kept = tokio::task::spawn_blocking({
        let user = user.clone();
        move || keep(&file, &key, &user, &password)
    })
    .await??;
    say(&format!(
        "logged in to {server} as {user}; the password is kept {kept}"
    ));
    Ok(())
}

fn server(text: &str) -> String {
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    bare.split('/').next().unwrap_or_default().to_owned()
}

async fn password(arguments: &Login) -> Result<Zeroizing<String>> {
    if let Some(password) = &arguments.password {
        say(
            "warning: whoever may list the processes of this machine sees --password; use --password-stdin",
        );
        return Ok(Zeroizing::new(password.clone()));
    }
    if let Some(password) = &arguments.registry.registry_password {
        return Ok(Zeroizing::new(password.clone()));
    }
    if arguments.password_stdin {
        // On a thread of its own, so that whoever waits for it may give up.
        let text = tokio::task::spawn_blocking(|| -> std::io::Result<Zeroizing<String>> {
            let mut text = Zeroizing::new(String::new());
            let mut input = std::io::stdin().lock().take(PASSWORD_MAX);
            input.read_to_string(&mut text)?;
            Ok(text)
        });
        let text = text.await?.context("the password on standard input")?;
        let password = Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned());
        if password.is_empty() {
            return Err(advice(
                "standard input holds no password",
                "pipe it in: login --password-stdin < FILE",
            ));
        }
        return Ok(password);
    }
    if std::io::stdin().is_terminal() {
        return private_key::password("Password").await;
    }
    Err(advice(
        "no password",
        "pass it on standard input, with --password-stdin",
    ))
}

fn config_file() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("DOCKER_CONFIG") {
        return Ok(PathBuf::from(folder).join("config.json"));
    }
    let home = set("HOME").context("neither DOCKER_CONFIG nor HOME is set")?;
    Ok(PathBuf::from(home).join(".docker/config.json"))
}

/// Keeps it, and says where.
fn keep(file: &Path, key: &str, user: &str, password: &str) -> Result<String> {
    let mut config = read(file)?;
    if let Some(helper) = helper(&config, key)? {
        store(&helper, key, user, password)?;
        return Ok(format!("by docker-credential-{helper}"));
    }
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    let auths = auths
        .as_object_mut()
        .with_context(|| format!("{}: auths is no object", file.display()))?;
    auths.insert(
        key.to_owned(),
        json!({ "auth": Bytes::encode(pair.as_bytes()) }),
    );
    write(file, &config)?;
    Ok(format!("in {}, not encrypted", file.display()))
}

fn read(file: &Path) -> Result<Map<String, Value>> {
    let reading = || format!("Docker's configuration {}", file.display());
    match fs::File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(error).with_context(reading),
        Ok(opened) => {
            let mut text = Vec::new();
            opened
                .take(CONFIG_MAX)
                .read_to_end(&mut text)
                .with_context(reading)?;
            serde_json::from_slice(&text).with_context(reading)
        }
    }
}

/// The helper for this registry, or for all.
fn helper(config: &Map<String, Value>, key: &str) -> Result<Option<String>> {
    let own = config
        .get("credHelpers")
        .and_then(|helpers| helpers.get(key));
    let Some(name) = own.or_else(|| config.get("credsStore")) else {
        return Ok(None);
    };
    let name = name.as_str().unwrap_or_default();
    // It becomes a program's name.
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain {
        return Ok(Some(name.to_owned()));
    }
    // Kept in the clear instead, it would be where its owner did not want it.
    Err(advice(
        format!(
            "Docker's configuration names a credential helper for {key} that cannot be one: {name:?}"
        ),
        "name it by letters, digits, - _ and ., or take it out",
    ))
}

fn store(helper: &str, key: &str, user: &str, password: &str) -> Result<()> {
    let program = format!("docker-credential-{helper}");
    let request = Zeroizing::new(
        json!({ "ServerURL": key, "Username": user, "Secret": password }).to_string(),
    );
    let mut child = Command::new(&program)
        .arg("store")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}, which Docker's configuration names"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(request.as_bytes())?;
    }
    let done = child.wait_with_output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stdout);
    Err(advice(
        format!("{program} did not keep the password: {}", said.trim()),
        "unlock its store, or name another one in Docker's configuration",
    ))
}

/// Beside it and renamed: whoever reads meanwhile reads the old one or the new one. A link stays one, and what it points to is replaced.
fn write(file: &Path, config: &Map<String, Value>) -> Result<()> {
    let writing = || format!("cannot write {}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(writing)?;
    }
    let file = match fs::canonicalize(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => file.to_owned(),
        found => found.with_context(writing)?,
    };
    let beside = file.with_extension(format!("json.{}", std::process::id()));
    let text = Zeroizing::new(serde_json::to_vec_pretty(config)?);
    // One that is there already is of a process that ended long ago, or of somebody who wants to read what is written into it.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(writing);
        }
        _ => {}
    }
    let mut written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .with_context(writing)?;
    let done = written
        .write_all(&text)
        .and_then(|()| written.sync_all())
        .and_then(|()| fs::rename(&beside, &file));
    if done.is_err() {
        let _left_behind = fs::remove_file(&beside);
    }
    done.with_context(writing)
}
