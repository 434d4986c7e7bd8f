//! `verify-server`: answers on a Unix socket, for gates that ask often. Trust and policy are read again in the background; when they cannot be,
//! every answer is no until they can.
//!
//! The socket is made in a folder that only this user may enter, gets mode 0600 there, and is then moved to its place: there is no moment in which
//! somebody else could connect.

use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::lines::{Answer, Answers, LINE_MAX, id_of, refusal, text};
use crate::args::VerifyServer;
use crate::failure::{Outcome, advice_of, say, usage};

/// A client that says nothing for this long is sent away.
const IDLE: Duration = Duration::from_mins(1);
/// How soon it is tried again where trust could not be read.
const RETRY: Duration = Duration::from_mins(1);
/// How long trust and policy may take to read before there are none.
const REFRESH_PATIENCE: Duration = Duration::from_mins(2);
/// How long those who are being served have at the end.
const FAREWELL: Duration = Duration::from_secs(10);

/// What answers, or why nothing can.
type Current = Arc<RwLock<std::result::Result<Arc<Answers>, String>>>;

pub(super) async fn run(arguments: VerifyServer) -> Result<()> {
    let arguments = Arc::new(arguments);
    let answers = answers(&arguments).await?;
    let current: Current = Arc::new(RwLock::new(Ok(Arc::new(answers))));
    let socket = Socket::bind(&arguments.socket)?;
    say(&format!("listening on {}", arguments.socket.display()));
    let mut refreshing = tokio::spawn(refresh(Arc::clone(&arguments), Arc::clone(&current)));
    let clients = Arc::new(Semaphore::new(usize::from(arguments.clients)));
    let mut stop = std::pin::pin!(stopped());
    let ended = loop {
        // Whoever comes while all places are taken waits in the socket's queue.
        let place = tokio::select! {
            place = Arc::clone(&clients).acquire_owned() => place?,
            () = &mut stop => break Ok(()),
            ended = &mut refreshing => break Err(no_longer_fresh(ended.err())),
        };
        let stream = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = &mut stop => break Ok(()),
            ended = &mut refreshing => break Err(no_longer_fresh(ended.err())),
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, most likely: those who are served will close some.
                say(&format!("warning: a client could not be accepted: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let current = Arc::clone(&current);
        let patience = arguments.request_timeout;
        tokio::spawn(async move {
            // A client that goes away is no trouble of ours.
            let _gone = serve(stream, &current, patience).await;
            drop(place);
        });
    };
    if let Err(error) = &ended {
        *current
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Err(error.to_string());
    }
    refreshing.abort();
    drop(socket);
    let all = u32::from(arguments.clients);
    let _late = tokio::time::timeout(FAREWELL, clients.acquire_many(all)).await;
    ended
}

/// A server whose trust grows old unseen must not answer.
fn no_longer_fresh(why: Option<tokio::task::JoinError>) -> anyhow::Error {
    let why = why.map_or_else(|| "it ended".to_owned(), |error| error.to_string());
    anyhow::anyhow!("trust and policy are no longer read again: {why}")
}

/// Reads trust and policy in a task of its own, which may panic or hang without that anybody but this reading fails.
async fn read_again(arguments: Arc<VerifyServer>, patience: Duration) -> Result<Answers> {
    within(patience, async move { answers(&arguments).await }).await
}

async fn within<T: Send + 'static>(
    patience: Duration,
    reading: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut reading = tokio::spawn(reading);
    if let Ok(read) = tokio::time::timeout(patience, &mut reading).await {
        return read?;
    }
    reading.abort();
    anyhow::bail!("not read after {} s", patience.as_secs())
}

async fn answers(arguments: &VerifyServer) -> Result<Answers> {
    Answers::open(
        &arguments.expected,
        &arguments.judging,
        &arguments.trust,
        &arguments.tag_trust,
        &arguments.registry,
    )
    .await
}

async fn refresh(arguments: Arc<VerifyServer>, current: Current) {
    let mut wait = arguments.refresh;
    loop {
        tokio::time::sleep(wait).await;
        let fresh = match read_again(Arc::clone(&arguments), REFRESH_PATIENCE).await {
            Ok(answers) => {
                wait = arguments.refresh;
                Ok(Arc::new(answers))
            }
            Err(error) => {
                let why = format!("{error:#}");
                say(&format!(
                    "warning: trust or policy cannot be read, nothing is accepted until they can: {why}"
                ));
                wait = RETRY.min(arguments.refresh);
                Err(why)
            }
        };
        // Nobody panics while holding it; if somebody did, what is there is replaced as a whole.
        *current
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
    }
}

async fn serve(stream: UnixStream, current: &Current, patience: Duration) -> Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    let limit = u64::try_from(LINE_MAX)?.saturating_add(1);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reading).take(limit);
        let read = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line));
        if read.await?? == 0 {
            return Ok(());
        }
        let too_long = line.len() > LINE_MAX;
        let answer = if too_long {
            let why = usage(
                format!("a line longer than {LINE_MAX} bytes"),
                "ask less at a time",
            );
            refusal("", None, why)
        } else {
            match text(line) {
                Ok(line) => answer(&line, current, patience).await,
                Err(error) => refusal("", None, error),
            }
        };
        let mut text = answer.json;
        text.push('\n');
        tokio::time::timeout(IDLE, writing.write_all(text.as_bytes())).await??;
        if too_long {
            return Ok(());
        }
    }
}

async fn answer(line: &str, current: &Current, patience: Duration) -> Answer {
    let answers = current
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    let transport = |reason, problem: String, hint: &str| {
        refusal(
            line.trim(),
            id_of(line).as_deref(),
            advice_of(Outcome::Transport, Some(reason), problem, hint),
        )
    };
    match answers {
        Err(why) => transport(
            "no-trust",
            format!("trust or policy cannot be read: {why}"),
            "the server's standard error has more",
        ),
        Ok(answers) => match tokio::time::timeout(patience, answers.answer(line)).await {
            Ok(answer) => answer,
            Err(_) => transport(
                "timeout",
                format!("not done after {} s", patience.as_secs()),
                "give it longer with --request-timeout",
            ),
        },
    }
}

async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// The socket, taken away when it is done.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    fn bind(path: &Path) -> Result<Self> {
        let shown = path.display();
        let listening = || format!("listening on {shown}");
        if let Ok(found) = std::fs::symlink_metadata(path) {
            // A full queue, or one that this user may not enter, is somebody's too.
            let alive = !std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
            if !found.file_type().is_socket() || alive {
                return Err(usage(
                    format!("--socket {shown} is there already"),
                    if found.file_type().is_socket() {
                        "another server listens there: stop it, or choose another path"
                    } else {
                        "it is no socket: choose another path"
                    },
                ));
            }
            // What a server left that did not end in good order.
            std::fs::remove_file(path).with_context(listening)?;
        }
        let name = path.file_name().with_context(listening)?;
        let mut folder = name.to_owned();
        folder.push(format!(".{}", std::process::id()));
        let folder = path.with_file_name(folder);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(listening)?;
        let made = folder.join("s");
        let listener = UnixListener::bind(&made).and_then(|listener| {
            std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
            std::fs::rename(&made, path)?;
            Ok(listener)
        });
        let _empty = std::fs::remove_file(&made);
        let _removed = std::fs::remove_dir(&folder);
        Ok(Self {
            listener: listener.with_context(listening)?,
            path: path.to_owned(),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reading_that_panics_or_hangs_fails() {
        let patience = Duration::from_millis(1);
        let hangs = within(patience, std::future::pending::<Result<()>>()).await;
        assert!(hangs.unwrap_err().to_string().contains("not read after"));
        let panics = async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(())
        };
        assert!(within(IDLE, panics).await.is_err());
        assert!(within(IDLE, async { Ok(()) }).await.is_ok());
    }
}
