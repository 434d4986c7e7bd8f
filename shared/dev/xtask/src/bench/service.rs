//! The services under load: ours as its own program with a fresh state, then the upstream one with the same keys.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::Result;

use super::table::{Contestant, Table, Work, measure};
use super::{build, machine, programs};
use crate::peers::site::Site;
use crate::peers::stack::{Server, free_port};
use crate::peers::upstream;
use crate::run::quiet;

/// One client, a busy service, and more than the machine has cores for.
const LEVELS: &[u32] = &[1, 16, 64];
/// A log with a batch interval shows what it can do only when many wait for one batch.
const LOG_LEVELS: &[u32] = &[1, 16, 64, 512];
/// The upstream log asks itself once a second whether an entry is in: how much it can do shows when very many ask it.
const SLOW_LOG_LEVELS: &[u32] = &[1, 16, 64, 512, 2048];
/// As many people as there are connections at the middle level.
const PEOPLE: u32 = 16;

/// Keys, trust files and settings, made by our optimised programs.
fn site() -> Result<Site> {
    let site = Site::new(&programs())?;
    println!("{}", machine::describe(site.folder())?);
    Ok(site)
}

fn contestant<'a>(name: &'a str, server: &Server) -> Contestant<'a> {
    Contestant {
        name,
        url: format!("http://{}", server.address),
        process: server.id(),
    }
}

/// Prints the ratios, and answers whether all of it counts.
fn conclude(ours: &Table, theirs: &[Table]) -> bool {
    for table in theirs {
        ours.against(table);
    }
    let clean = ours.is_clean() && theirs.iter().all(Table::is_clean);
    if !clean {
        println!("\nREQUESTS FAILED: what stands above are no figures");
    }
    clean
}

pub(crate) fn log() -> Result<bool> {
    build(&["load", "sigstack", "rekor-rs"])?;
    let site = site()?;
    let work = |seconds, levels| Work {
        kind: vec!["log".into()],
        levels,
        seconds,
        rate_max: 10_000,
    };
    let bare = {
        let port = free_port()?;
        let server = Server::start(
            Command::new(programs().join("load"))
                .args(["bare", "--listen"])
                .arg(format!("localhost:{port}")),
            port,
            &site.log("bare"),
        )?;
        let name = "the same HTTP stack with signature checks, and no log";
        measure(&contestant(name, &server), &work(5, LOG_LEVELS))?
    };
    // As upstream's, which has no search.
    let ours = {
        let server = plain_log(&site)?;
        measure(&contestant("rekor-rs", &server), &work(5, LOG_LEVELS))?
    };
    let (indexed, v1) = {
        let server = site.start("rekor-rs", "rekor")?;
        let name = "rekor-rs with a search index";
        let v2 = measure(&contestant(name, &server), &work(5, LOG_LEVELS))?;
        let work = Work {
            kind: vec!["log-v1".into()],
            ..work(5, LOG_LEVELS)
        };
        (
            v2,
            measure(
                &contestant("rekor-rs with a search index, Rekor v1", &server),
                &work,
            )?,
        )
    };
    indexed.against(&bare);
    let mut theirs = vec![bare];
    if let Some(program) = upstream::REKOR.program_or_tell() {
        // A run has to see some of its rounds: the defaults publish a checkpoint every ten seconds.
        let tuned: &[&str] = &["--checkpoint-interval", "100ms", "--batch-max-age", "100ms"];
        for (how, flags, seconds, levels) in [
            ("default settings", &[][..], 30, &[64, 512][..]),
            ("a checkpoint every 100 ms", tuned, 10, SLOW_LOG_LEVELS),
        ] {
            let name = format!("{}, {how}", upstream::REKOR.title());
            let server = upstream::rekor(&site, &program, free_port()?, flags)?;
            let work = Work {
                rate_max: 1_000,
                ..work(seconds, levels)
            };
            theirs.push(measure(&contestant(&name, &server), &work)?);
        }
    }
    Ok(conclude(&ours, &theirs) && indexed.is_clean() && v1.is_clean())
}

/// How long a client waits where a sync takes so long: the disk of a cloud's virtual machine.
const SYNC_MS: u32 = 5;
/// Enough that a request is hardly ever late because no connection is free.
const OPEN: &[u32] = &[128];

/// How long a client of a log waits, by a disk whose speed is given: alone, at half of what the log can do, and at all of it.
pub(crate) fn latency() -> Result<bool> {
    build(&["load"])?;
    let folder = tempfile::tempdir()?;
    println!("{}", machine::describe(folder.path())?);
    let port = free_port()?;
    let server = Server::start(
        Command::new(programs().join("load"))
            .args(["slow", "--sync-ms", &SYNC_MS.to_string()])
            .arg(format!("--listen=localhost:{port}"))
            .arg("--folder")
            .arg(folder.path().join("log")),
        port,
        &folder.path().join("slow.log"),
    )?;
    let name = format!("rekor-rs, where a sync takes at least {SYNC_MS} ms");
    let closed = Work {
        kind: vec!["log".into()],
        levels: &[1, 64, 512],
        seconds: 5,
        rate_max: 10_000,
    };
    let all = measure(&contestant(&name, &server), &closed)?;
    let half = at_half_load(&server, &closed, all.best())?;
    Ok(conclude(&half, &[]) && all.is_clean())
}

/// How long a client waits at half of what a service can do, asked at even distances whatever it does.
fn at_half_load(server: &Server, work: &Work, best: f64) -> Result<Table> {
    // A whole number of requests a second, at least one.
    let half = format!("{:.0}", (best / 2.0).max(1.0));
    let name = format!("the same, asked {half} times a second: half of its best");
    let mut kind = work.kind.clone();
    kind.extend(["--rate".into(), half.into()]);
    let open = Work {
        kind,
        levels: OPEN,
        seconds: 10,
        rate_max: work.rate_max,
    };
    measure(&contestant(&name, server), &open)
}

/// A log of Rekor v2 alone.
fn plain_log(site: &Site) -> Result<Server> {
    let port = free_port()?;
    let folder = site.folder().join("rekor-plain");
    fs::create_dir_all(&folder)?;
    let program = programs().join("rekor-rs");
    quiet(
        Command::new(&program)
            .args(["init", "--without-v1", "--without-search"])
            .arg(format!("--url=http://localhost:{port}"))
            .arg(format!("--listen=localhost:{port}"))
            .arg("--folder")
            .arg(&folder),
    )?
    .expect(0)?;
    Server::start(
        Command::new(program)
            .args(["serve", "--config"])
            .arg(folder.join("rekor-rs.toml")),
        port,
        &site.log("rekor-plain"),
    )
}

pub(crate) fn tsa() -> Result<bool> {
    build(&["load", "sigstack", "tsa-rs"])?;
    let site = site()?;
    let work = Work {
        kind: vec!["tsa".into()],
        levels: LEVELS,
        seconds: 5,
        rate_max: 20_000,
    };
    let ours = {
        let server = site.start("tsa-rs", "tsa")?;
        measure(&contestant("tsa-rs", &server), &work)?
    };
    let mut theirs = Vec::new();
    if let Some(program) = upstream::TSA.program_or_tell() {
        let server = upstream::tsa(&site, &program, free_port()?)?;
        theirs.push(measure(
            &contestant(&upstream::TSA.title(), &server),
            &work,
        )?);
    }
    Ok(conclude(&ours, &theirs))
}

pub(crate) fn ca() -> Result<bool> {
    build(&["load", "sigstack", "fulcio-rs", "ctlog-rs"])?;
    let site = site()?;
    let issuer = site.file("issuer/issuer.toml");
    let _issuer = Server::start(
        Command::new(programs().join("sigstack"))
            .args(["serve", "issuer", "--config"])
            .arg(issuer),
        site.port("issuer")?,
        &site.log("issuer"),
    )?;
    let work = Work {
        kind: vec!["ca".into(), "--tokens".into(), tokens(&site)?],
        levels: LEVELS,
        seconds: 5,
        rate_max: 5_000,
    };
    // As the public instance's: P-384.
    let mut clean = authority(&site, &work, "P-384", &[Witness::None])?;
    smaller_key(&site)?;
    let witnesses = [
        Witness::None,
        Witness::InProcess,
        Witness::Ours,
        Witness::TesseraCt,
    ];
    clean &= authority(&site, &work, "P-256", &witnesses)?;
    Ok(clean)
}

/// Who witnesses the certificates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Witness {
    None,
    /// The log in the process of our CA; upstream has none, and is asked with ours by its URL.
    InProcess,
    /// ctlog-rs by its URL.
    Ours,
    /// TesseraCT by its URL, as fast as it goes.
    TesseraCt,
}

impl Witness {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "without a CT log",
            Self::InProcess => "with its CT log in the same process",
            Self::Ours => "with ctlog-rs",
            Self::TesseraCt => "with TesseraCT",
        }
    }
}

/// One authority with each witness: ours, then upstream's with what it can have.
fn authority(site: &Site, work: &Work, key: &str, witnesses: &[Witness]) -> Result<bool> {
    let upstream = upstream::FULCIO.program_or_tell();
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut clean = true;
    for witness in witnesses {
        let _log = match witness {
            Witness::None | Witness::InProcess => None,
            Witness::Ours => Some(site.start("ctlog-rs", "ctlog")?),
            Witness::TesseraCt => match upstream::TESSERACT.program_or_tell() {
                Some(program) => Some(upstream::tesseract(site, &program)?),
                None => continue,
            },
        };
        let named = |program: &str| format!("{program}, {key}, {}", witness.name());
        {
            let server = our_fulcio(site, *witness)?;
            let table = measure(&contestant(&named("fulcio-rs"), &server), work)?;
            if *witness == Witness::InProcess {
                clean &= at_half_load(&server, work, table.best())?.is_clean();
            }
            ours.push(table);
        }
        if let Some(program) = upstream.as_ref().filter(|_| *witness != Witness::InProcess) {
            let server = upstream::fulcio(site, program, free_port()?, *witness != Witness::None)?;
            let name = named(&upstream::FULCIO.title());
            theirs.push(measure(&contestant(&name, &server), work)?);
        }
    }
    for table in &ours {
        let alike = |other: &&Table| {
            let alone = |table: &Table| table.name().ends_with(Witness::None.name());
            alone(table) == alone(other)
        };
        for other in theirs.iter().filter(alike) {
            table.against(other);
        }
        clean &= table.is_clean();
    }
    clean &= theirs.iter().all(Table::is_clean);
    if !clean {
        println!("\nREQUESTS FAILED: what stands above are no figures");
    }
    Ok(clean)
}

/// Another key and chain for the authority, and the log's roots with it.
fn smaller_key(site: &Site) -> Result<()> {
    let folder = site.folder().join("p256");
    fs::create_dir_all(&folder)?;
    let key = folder.join("made.pem");
    quiet(
        Command::new("openssl")
            .args(["genpkey", "-algorithm", "EC"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-out"])
            .arg(&key),
    )?
    .expect(0)?;
    quiet(
        Command::new(programs().join("fulcio-rs"))
            .args(["ca", "init", "--organization", "bench"])
            .arg("--key")
            .arg(&key)
            .arg("--folder")
            .arg(&folder),
    )?
    .expect(0)?;
    fs::copy(key, site.file("fulcio/key.pem"))?;
    fs::copy(folder.join("chain.pem"), site.file("fulcio/chain.pem"))?;
    fs::copy(folder.join("root.pem"), site.file("ctlog/roots.pem"))?;
    Ok(())
}

/// A file of tokens that outlive the bench.
fn tokens(site: &Site) -> Result<OsString> {
    let mut text = String::new();
    for number in 0..PEOPLE {
        let email = format!("person{number}@example.com");
        let token = site.sigstack(&["token", "--email", &email, "--seconds", "3600"])?;
        writeln!(text, "{token}")?;
    }
    let path = site.folder().join("tokens");
    fs::write(&path, text)?;
    Ok(path.into())
}

fn our_fulcio(site: &Site, witness: Witness) -> Result<Server> {
    let port = free_port()?;
    let settings = site.file("fulcio/bench.toml");
    let log = match witness {
        Witness::None => "none = true".to_owned(),
        Witness::InProcess => "settings = \"../ctlog/bench.toml\"".to_owned(),
        Witness::Ours | Witness::TesseraCt => format!(
            "url = \"{}\"\npublic_key = \"ctlog.pub.pem\"",
            site.address("ctlog")?
        ),
    };
    fs::write(
        &settings,
        format!(
            "[server]\nlisten = \"localhost:{port}\"\n\n[ca]\nkey = \"key.pem\"\nchain = \"chain.pem\"\nissuers = \"issuers.yaml\"\n\n\
             [ct_log]\n{log}\n"
        ),
    )?;
    // A tree of its own: whoever comes later does not find the entries of whoever was before.
    let own = fs::read_to_string(site.file("ctlog/ctlog.toml"))?
        .replace("folder = \"log\"", "folder = \"log-in-process\"")
        .replace("last.checkpoint", "last-in-process.checkpoint");
    fs::write(site.file("ctlog/bench.toml"), own)?;
    Server::start(
        Command::new(programs().join("fulcio-rs"))
            .arg("--config")
            .arg(settings),
        port,
        &site.log("fulcio-rs-bench"),
    )
}
