//! `cosign-rs root ...`: running a trust root. What is done is in the crate `repository`; here are flags, files and words.

pub(crate) mod args;
mod services;
mod tell;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use keys::{Algorithm, PublicKey};
use repository::{Beginning, ImportFiles, Repository, RepositoryError, Signers, policy, sign_file};
use signer::{KeyRef, Signer};
use store::fs::Folder;
use tuf::{Delegation, Request, Role, RoleName, TargetFile, Version};

use crate::failure::{Exit, advice, say};
use crate::report;
use crate::trust_files::read;
use args::{
    Delegate, Export, ExportForm, Import, Init, Propose, Root, Rotate, Sign, StatusOutput, Tag,
    Verb,
};

/// The key that `init --development` makes for root and targets. Files with this ending are not taken into git.
const DEVELOPMENT_KEY: &str = "offline.key";
const ONLINE_KEY: &str = "online.key";

pub(crate) async fn run(root: Root) -> Result<()> {
    let state = root.state;
    match root.verb {
        Verb::Init(init) => begin(&state, &init).await,
        Verb::Propose(propose) => self::propose(&state, &propose),
        Verb::Show(show) => {
            tell::request(&Request::parse(&read(&show.file)?)?, Timestamp::now()).map(drop)
        }
        Verb::Sign(sign) => self::sign(&sign).await,
        Verb::Merge(merge) => self::merge(&state, &merge.files),
        Verb::Discard { role } => {
            let role = RoleName::parse(&role)?;
            open(&state)?.write_soon()?.discard(&role)?;
            say(&format!("the proposal for {role} is taken back"));
            Ok(())
        }
        Verb::Status(status) => self::status(&state, status.output),
        Verb::Publish => publish(&state).await,
        Verb::Refresh { force } => refresh(&state, force).await,
        Verb::Serve { listen } => serve_it(&state, &listen).await,
        Verb::Rotate(rotate) => self::rotate(&state, &rotate).await,
        Verb::AddShard(add) => services::add_shard(&open(&state)?, &add).await,
        Verb::AddCa(add) => services::add_ca(&open(&state)?, &add).await,
        Verb::AddLog(add) => services::add_log(&open(&state)?, &add).await,
        Verb::Retire(retire) => services::retire(&open(&state)?, &retire),
        Verb::Delegate(delegate) => self::delegate(&state, &delegate),
        Verb::Tag(tag) => self::tag(&state, &tag).await,
        Verb::Import(import) => self::import(&state, &import),
        Verb::Export(export) => self::export(&state, &export),
    }
}

fn open(state: &Path) -> Result<Repository> {
    let disk =
        Folder::open(state).with_context(|| format!("the state folder {}", state.display()))?;
    Repository::open(Arc::new(disk), state)
        .with_context(|| format!("the state folder {}", state.display()))
}

async fn begin(state: &Path, init: &Init) -> Result<()> {
    let now = Timestamp::now();
    let folder = Arc::new(
        Folder::open(state).with_context(|| format!("the state folder {}", state.display()))?,
    );
    let mut policy = policy_text(&init.operator, init.development);
    let (mut signers, mut made) = (public_keys(&init.signers)?, Vec::new());
    if signers.is_empty() {
        ensure!(
            init.development,
            advice(
                "who signs root and targets?",
                "name at least three people with --signer NAME=FILE and --threshold 2; --development makes one key here"
            )
        );
        let key = Signer::load_or_create(&state.join(DEVELOPMENT_KEY), Algorithm::EcdsaP256Sha256)?;
        signers.push(("offline".to_owned(), key.public_key().clone()));
        made.push(key);
    }
    let reference = match &init.online {
        Some(reference) => reference.clone(),
        None if init.development => {
            Signer::load_or_create(&state.join(ONLINE_KEY), Algorithm::EcdsaP256Sha256)?;
            ONLINE_KEY.to_owned()
        }
        None => {
            return Err(advice(
                "which key signs snapshot and timestamp?",
                "name it with --online: a file, env://NAME, pkcs11:... or hashivault://NAME",
            ));
        }
    };
    let secret = init.online_secret_file.as_deref();
    let key = policy_key(&reference, secret, state)?;
    policy.push_str(&repository::online_entry(&reference, secret));
    let online = Signer::open(&key)
        .await
        .with_context(|| format!("the online key {key}"))?;
    let threshold = init.threshold.unwrap_or(if init.development {
        1
    } else {
        signers.len().div_ceil(2).max(2)
    });
    let wanted = Signers {
        keys: signers.iter().map(|(_, key)| key.clone()).collect(),
        threshold,
    };
    let mut contents = services::discover(init, now).await?;
    contents.extend(files(&init.targets)?);
    if contents.is_empty() {
        say(
            "note: no service was named, so there is nothing in it yet; `propose` and `add-shard` come later",
        );
    }
    let beginning = Beginning {
        root: wanted.clone(),
        targets: wanted,
        online: online.public_key().clone(),
        contents,
    };
    let repository = Repository::init(folder, state, &policy, &beginning, now)?;
    let writer = repository.write_soon()?;
    for (name, key) in &signers {
        writer.add_key(name, key)?;
    }
    drop(writer);
    for key in &made {
        for role in [RoleName::ROOT, RoleName::TARGETS] {
            repository.write_soon()?.sign(&role, key, now).await?;
        }
    }
    if made.is_empty() {
        tell::next_steps(&repository, state, now)
    } else {
        publish(state).await
    }
}

fn policy_text(operator: &str, development: bool) -> String {
    let quoted = serde_json::Value::from(operator).to_string();
    let text = policy::EXAMPLE.replacen(
        "operator = \"example.com\"",
        &format!("operator = {quoted}"),
        1,
    );
    if development {
        text.replacen("mode = \"production\"", "mode = \"development\"", 1)
    } else {
        text
    }
}

fn propose(state: &Path, propose: &Propose) -> Result<()> {
    let now = Timestamp::now();
    let repository = open(state)?;
    let mut contents = files(&propose.targets)?;
    for (name, file) in [
        (repository::TRUSTED_ROOT, &propose.trusted_root),
        (repository::SIGNING_CONFIG, &propose.signing_config),
    ] {
        if let Some(file) = file {
            contents.insert(name.to_owned(), read(file)?);
        }
    }
    let renew: Vec<RoleName> = propose
        .renew
        .iter()
        .map(|role| RoleName::parse(role))
        .collect::<Result<_, _>>()?;
    let targets = !contents.is_empty()
        || !propose.remove_target.is_empty()
        || propose.targets_version.is_some();
    ensure!(
        targets || !renew.is_empty(),
        advice(
            "nothing is proposed",
            "name a --target, a --remove-target or a role to --renew"
        )
    );
    let writer = repository.write_soon()?;
    if targets || renew.contains(&RoleName::TARGETS) {
        let version = propose.targets_version.map(Version::new).transpose()?;
        writer.edit_targets(now, &contents, |targets| {
            for name in &propose.remove_target {
                targets.remove_target(name)?;
            }
            if let Some(version) = version {
                targets.set_version(version);
            }
            Ok(())
        })?;
    }
    for role in renew {
        match &role {
            RoleName::Top(Role::Root) => writer.edit_root(now, |_| Ok(()))?,
            RoleName::Delegated(_) => writer.edit_delegated(&role, now, |_| Ok(()))?,
            // With the other changes of targets.
            RoleName::Top(Role::Targets) => {}
            RoleName::Top(Role::Snapshot | Role::Timestamp) => {
                bail!("{role} is renewed with the online key: `cosign-rs root refresh`")
            }
        }
    }
    drop(writer);
    tell::next_steps(&repository, state, now)
}

async fn sign(sign: &Sign) -> Result<()> {
    let now = Timestamp::now();
    ensure!(
        sign.out.is_none() || sign.files.len() == 1,
        "--out goes with one file"
    );
    let key = KeyRef::parse(&sign.key, sign.key_secret_file.as_deref(), Path::new(""))?;
    let signer = Signer::open(&key)
        .await
        .with_context(|| format!("the key {key}"))?;
    for file in &sign.files {
        let bytes = read(file)?;
        let request = Request::parse(&bytes).with_context(|| file.display().to_string())?;
        say(&format!("{}:", file.display()));
        let review = tell::request(&request, now)?;
        if let Some(expected) = &sign.root_checksum {
            let found = review.root_sha256.as_deref().unwrap_or("none");
            ensure!(
                expected.eq_ignore_ascii_case(found),
                "the root in force has the SHA-256 {found}, expected {expected}: is this request from your repository?"
            );
        }
        if !sign.yes {
            ensure!(confirmed()?, "not signed");
        }
        let (signed, review) = sign_file(&bytes, &signer, now).await?;
        let out = sign.out.as_ref().unwrap_or(file);
        write_whole(out, signed.to_text().as_bytes())?;
        let done: Vec<String> = review
            .progress
            .iter()
            .map(|one| format!("{} of {} for {}", one.have, one.threshold, one.by))
            .collect();
        say(&format!(
            "signed, {} now: {}",
            done.join(", "),
            out.display()
        ));
    }
    Ok(())
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(advice(
            "nobody is there to say yes",
            "--yes signs without asking",
        ));
    }
    say("sign this? type yes:");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn merge(state: &Path, files: &[PathBuf]) -> Result<()> {
    let now = Timestamp::now();
    let repository = open(state)?;
    let writer = repository.write_soon()?;
    for file in files {
        let (role, new) = writer
            .merge(&read(file)?, now)
            .with_context(|| file.display().to_string())?;
        say(&format!(
            "{}: {new} new signature(s) for {role}",
            file.display()
        ));
    }
    drop(writer);
    tell::next_steps(&repository, state, now)
}

fn status(state: &Path, output: StatusOutput) -> Result<()> {
    let now = Timestamp::now();
    let status = open(state)?.status(now)?;
    match output {
        StatusOutput::Json => report::print_json(&status)?,
        StatusOutput::Prometheus => report::print(status.to_prometheus(now).trim_end())?,
        StatusOutput::Text => report::print(&tell::status(&status))?,
    }
    match status.level.exit_code() {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}

async fn publish(state: &Path) -> Result<()> {
    let now = Timestamp::now();
    let repository = open(state)?;
    let (online, notes) = repository.online_signers().await;
    let writer = repository.write_soon()?;
    let done = writer.publish(&online, now).await?;
    tell::done(&writer, &done, &notes).await
}

async fn refresh(state: &Path, force: bool) -> Result<()> {
    let repository = open(state)?;
    let (online, notes) = repository.online_signers().await;
    let wanted = if force {
        repository::Timestamp::Always
    } else {
        repository::Timestamp::WhenDue
    };
    let writer = repository.write_soon()?;
    let done = writer.refresh(&online, wanted, Timestamp::now()).await?;
    tell::done(&writer, &done, &notes).await
}

async fn serve_it(state: &Path, listen: &str) -> Result<()> {
    serve::logging::init(serve::logging::Format::Text, "info");
    let repository = open(state)?;
    let address: serve::ListenAddress = listen
        .parse()
        .map_err(|error| anyhow!("--listen {listen}: {error}"))?;
    let listeners = serve::Listeners::bind(&address).await?;
    say(&format!(
        "serving {} at {}",
        state.display(),
        listeners.base_url()
    ));
    let router = repository::service::build(repository, serve::Clock::system());
    let stop = serve::Stop::on_signals()?;
    serve::run(listeners, "tuf", router, serve::Limits::default(), stop).await;
    Ok(())
}

/// A key for the policy, which is kept where many can read it, and in git.
fn policy_key(reference: &str, secret_file: Option<&str>, state: &Path) -> Result<KeyRef> {
    // Without the secret's file first: beside it a PIN is refused without a word on where it belongs.
    if KeyRef::parse(reference, None, state)?.has_pin_value() {
        return Err(advice(
            "a PIN does not belong into policy.toml, which many can read",
            "leave pin-value out, and name a file that has the PIN: --online-secret-file, --key-secret-file, or pin-source in the URI",
        ));
    }
    Ok(KeyRef::parse(reference, secret_file.map(Path::new), state)?)
}

async fn rotate(state: &Path, rotate: &Rotate) -> Result<()> {
    let now = Timestamp::now();
    let repository = open(state)?;
    if rotate.roles.iter().any(|role| role == "online") {
        ensure!(
            rotate.roles.len() == 1
                && rotate.add.is_empty()
                && rotate.remove.is_empty()
                && rotate.threshold.is_none(),
            advice(
                "online is rotated by itself, to one key",
                "`cosign-rs root rotate online --key KEY`; --add, --remove and --threshold are for people"
            )
        );
        let reference = rotate
            .key
            .as_ref()
            .ok_or_else(|| advice("which key is the new one?", "name it with --key"))?;
        let secret = rotate.key_secret_file.as_deref();
        let key = policy_key(reference, secret, state)?;
        let signer = Signer::open(&key)
            .await
            .with_context(|| format!("the new online key {key}"))?;
        let signers = Signers {
            keys: vec![signer.public_key().clone()],
            threshold: 1,
        };
        let writer = repository.write_soon()?;
        for role in [RoleName::SNAPSHOT, RoleName::TIMESTAMP] {
            writer.set_signers(&role, &signers, now)?;
        }
        if !repository
            .policy()
            .online
            .iter()
            .any(|known| known.to_string() == key.to_string())
        {
            writer.add_online(reference, secret)?;
        }
        drop(writer);
        return tell::next_steps(&repository, state, now);
    }
    ensure!(
        rotate.key.is_none(),
        advice(
            "--key is the new key of online, and of no other role",
            "name who may sign with --add NAME=FILE"
        )
    );
    ensure!(
        !rotate.add.is_empty() || !rotate.remove.is_empty() || rotate.threshold.is_some(),
        advice(
            "nothing would change",
            "name --add, --remove or --threshold; `cosign-rs root propose --renew ROLE` gives a role a new end"
        )
    );
    let added = public_keys(&rotate.add)?;
    let names = repository.key_names()?;
    let writer = repository.write_soon()?;
    for (name, key) in &added {
        writer.add_key(name, key)?;
    }
    for role in &rotate.roles {
        let role = RoleName::parse(role)?;
        let from = signers_of(&repository, &role, now)?;
        let leaves = |key: &PublicKey| {
            let id = tuf::Key::new(key.clone())
                .map(|key| key.id().to_string())
                .unwrap_or_default();
            let name = names.get(&id);
            rotate
                .remove
                .iter()
                .any(|gone| *gone == id || Some(gone) == name)
        };
        for gone in &rotate.remove {
            let known = names.values().any(|name| name == gone) || names.contains_key(gone);
            ensure!(known, "nobody is called {gone} in keys/");
        }
        let mut keys: Vec<PublicKey> = from.keys.into_iter().filter(|key| !leaves(key)).collect();
        for (_, key) in &added {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        let signers = Signers {
            keys,
            threshold: rotate.threshold.unwrap_or(from.threshold),
        };
        if let RoleName::Delegated(_) = &role {
            // With its paths as they are proposed, if they are.
            let above = above(&repository, &RoleName::TARGETS, now)?;
            let delegation = above
                .delegations()?
                .into_iter()
                .find(|one| one.name == role);
            writer.delegate(
                &delegation.with_context(|| format!("no delegation to {role}"))?,
                &signers,
                now,
            )?;
        } else {
            writer.set_signers(&role, &signers, now)?;
        }
    }
    drop(writer);
    tell::next_steps(&repository, state, now)
}

/// Who signs a role now, or is to sign it, if that is proposed already.
fn signers_of(repository: &Repository, role: &RoleName, now: Timestamp) -> Result<Signers> {
    let above = match role {
        RoleName::Delegated(_) => RoleName::TARGETS,
        RoleName::Top(_) => RoleName::ROOT,
    };
    let document = self::above(repository, &above, now)?;
    let keys = document.signers(role)?;
    Ok(Signers {
        threshold: document.threshold(role)?,
        keys: keys
            .keys()
            .map(|(_, key)| key.public_key().clone())
            .collect(),
    })
}

/// Root or targets as proposed, or else as published.
fn above(repository: &Repository, role: &RoleName, now: Timestamp) -> Result<tuf::Document> {
    for staged in repository.staged_each(now)? {
        match staged {
            Ok(one) if one.role == *role => return Ok(one.ceremony.document().clone()),
            Err(RepositoryError::Staged { role: name, source }) if name == role.as_str() => {
                return Err(RepositoryError::Staged { role: name, source }.into());
            }
            Ok(_) | Err(_) => {}
        }
    }
    let published = repository
        .published()?
        .context("nothing is published yet")?;
    let held = published.of(role).context("nothing is published yet")?;
    Ok(held.document.clone())
}

fn delegate(state: &Path, delegate: &Delegate) -> Result<()> {
    let now = Timestamp::now();
    let repository = open(state)?;
    let role = RoleName::parse(&delegate.role)?;
    if delegate.remove {
        repository.write_soon()?.undelegate(&role, now)?;
        return tell::next_steps(&repository, state, now);
    }
    let signers = public_keys(&delegate.signers)?;
    let writer = repository.write_soon()?;
    for (name, key) in &signers {
        writer.add_key(name, key)?;
    }
    for path in &delegate.paths {
        // Tags of Docker Hub stand under its full name, so these would cover none.
        ensure!(
            !["docker.io/", "registry-1.docker.io/"]
                .iter()
                .any(|host| path.starts_with(host)),
            advice(
                format!(
                    "{path} covers no tag: images of Docker Hub are called index.docker.io/..."
                ),
                "write the pattern with index.docker.io/, and library/ for official images"
            )
        );
    }
    let delegation = Delegation {
        name: role,
        paths: delegate.paths.clone(),
        terminating: delegate.terminating,
    };
    let signers = Signers {
        keys: signers.into_iter().map(|(_, key)| key).collect(),
        threshold: delegate.threshold,
    };
    writer.delegate(&delegation, &signers, now)?;
    drop(writer);
    tell::next_steps(&repository, state, now)
}

async fn tag(state: &Path, tag: &Tag) -> Result<()> {
    let now = Timestamp::now();
    let repository = open(state)?;
    let role = RoleName::parse(&tag.role)?;
    let image = oci::Reference::parse(&tag.image)?;
    ensure!(
        image.digest.is_none(),
        advice(
            format!("{image} has a digest, and this is about where a tag points"),
            "name the tag alone, and the digest after it"
        )
    );
    // As `verify --tag-trust` looks for it.
    let name = crate::tag_trust::path_of(&image)?.to_string();
    let file = match &tag.digest {
        Some(digest) => {
            let digest = keys::Digest::parse(digest).ok();
            let bytes = digest.and_then(|digest| <[u8; 32]>::try_from(digest.bytes()).ok());
            let (Some(digest), Some(bytes)) = (digest, bytes) else {
                bail!(
                    "'{}' is no digest, sha256: and 64 hex digits",
                    tag.digest.as_deref().unwrap_or_default()
                );
            };
            let size = match tag.size {
                Some(size) => size,
                None => manifest_size(&image.repository.at(digest)).await?,
            };
            Some(TargetFile::from_parts(size, bytes))
        }
        None => None,
    };
    repository
        .write_soon()?
        .edit_delegated(&role, now, |document| match &file {
            Some(file) => Ok(document.set_target(&name, file)?),
            None => Ok(document.remove_target(&name)?),
        })?;
    tell::next_steps(&repository, state, now)
}

/// The bytes of a manifest, whose digest is compared with what the registry sends.
async fn manifest_size(image: &oci::Reference) -> Result<u64> {
    let registry = oci::Registry::new(oci::Settings {
        keychain: oci::Keychain::Configured,
        ..oci::Settings::default()
    });
    let image = registry.image(image).await.map_err(|error| {
        anyhow::Error::from(error).context("the length of the manifest; --size states it")
    })?;
    Ok(image.descriptor.size)
}

fn import(state: &Path, import: &Import) -> Result<()> {
    let mut files = ImportFiles::new();
    collect(&import.folder, "", &mut files)?;
    let mut policy = policy_text(&import.operator, import.development);
    match &import.online {
        Some(online) => {
            let secret = import.online_secret_file.as_deref();
            policy_key(online, secret, state)?;
            policy.push_str(&repository::online_entry(online, secret));
        }
        None => say(
            "note: no --online key was named: nothing can be refreshed before [[online]] stands in policy.toml",
        ),
    }
    let disk =
        Folder::open(state).with_context(|| format!("the state folder {}", state.display()))?;
    let (repository, notes) =
        Repository::import(Arc::new(disk), state, &policy, &files, Timestamp::now())?;
    for note in notes {
        say(&format!("note: {note}"));
    }
    let published = repository.published()?.context("nothing was taken over")?;
    say(&format!(
        "taken over with {} root(s), the newest is version {}",
        published.roots.len(),
        published.root.document.version()
    ));
    Ok(())
}

/// Reads a folder with what is below it. Far more files than any trust root has are a mistake of the folder.
fn collect(folder: &Path, prefix: &str, files: &mut ImportFiles) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let name = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            ensure!(
                files.len() < 10_000,
                "{} has more than 10000 files",
                folder.display()
            );
            files.insert(name, read(&entry.path())?);
        }
    }
    Ok(())
}

fn export(state: &Path, export: &Export) -> Result<()> {
    let repository = open(state)?;
    let target = |name: &str| -> Result<Vec<u8>> {
        repository
            .published_content(name)?
            .with_context(|| format!("{name} is not published"))
    };
    let bytes = match export.form {
        ExportForm::Tar => repository.tar()?,
        ExportForm::Root => {
            let oldest = repository
                .versions(&RoleName::ROOT)?
                .first()
                .copied()
                .context("nothing is published yet")?;
            repository
                .published_file(&RoleName::ROOT.file_name(oldest))?
                .context("no root")?
        }
        ExportForm::TrustedRootJsonl => {
            let value: serde_json::Value =
                serde_json::from_slice(&target(repository::TRUSTED_ROOT)?)?;
            format!("{value}\n").into_bytes()
        }
        ExportForm::TrustConfig => {
            let root = trust::TrustedRoot::parse(&target(repository::TRUSTED_ROOT)?)?;
            let signing = trust::SigningConfig::parse(&target(repository::SIGNING_CONFIG)?)?;
            trust::ClientTrustConfig { root, signing }
                .to_json()?
                .into_bytes()
        }
    };
    if export.file == Path::new("-") {
        return report::print(
            String::from_utf8(bytes)
                .context("only text goes to standard output")?
                .trim_end(),
        );
    }
    write_whole(&export.file, &bytes)
}

fn public_keys(named: &[(String, PathBuf)]) -> Result<Vec<(String, PublicKey)>> {
    named
        .iter()
        .map(|(name, file)| Ok((name.clone(), public_key(file)?)))
        .collect()
}

fn public_key(file: &Path) -> Result<PublicKey> {
    let text =
        String::from_utf8(read(file)?).with_context(|| format!("{} is not PEM", file.display()))?;
    PublicKey::from_pem(&text).with_context(|| format!("the public key {}", file.display()))
}

fn files(named: &[(String, PathBuf)]) -> Result<BTreeMap<String, Vec<u8>>> {
    named
        .iter()
        .map(|(name, file)| Ok((name.clone(), read(file)?)))
        .collect()
}

/// Puts a file in place as a whole: a signer's file is never left half written.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let writing = || format!("writing {}", file.display());
    let mut name = file
        .file_name()
        .context("no file name")
        .with_context(writing)?
        .to_owned();
    name.push(".new");
    let temporary = file.with_file_name(name);
    let mut new = std::fs::File::create(&temporary).with_context(writing)?;
    new.write_all(bytes).with_context(writing)?;
    new.sync_all().with_context(writing)?;
    std::fs::rename(&temporary, file).with_context(writing)
}
