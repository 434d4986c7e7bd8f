//! The port of this machine that the browser comes back to, for one answer.
//!
//! Any page that the browser has open, and any program of this machine, can send requests here. So: only the request with our `state`
//! counts, others are told so and change nothing; each connection has little memory and little time.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::{Host, Url};

use super::SignInError;

const PATH: &str = "/auth/callback";
/// The longest request: a code and a state, and what browsers send with it.
const REQUEST_MAX: usize = 16 * 1024;
/// For one connection; browsers open some that they never use.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// Ports that are tried.
const PORTS_MAX: u32 = 16;
/// For the page that says that it worked; the code is there already.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// After a connection that could not be taken: this process or machine has no more of something.
const PAUSE: Duration = Duration::from_millis(100);

const DONE: &str = "Signed in. You can close this page and go back to the terminal.";
const NOT_DONE: &str = "Not signed in. The terminal says why.";
const NOT_OURS: &str = "This is not the answer to the question that was asked.";

/// What the provider sent back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Callback {
    Code(String),
    Refused(String),
}

pub(super) struct Loopback {
    port: u16,
    host: String,
    path: String,
    listeners: Vec<TcpListener>,
}

impl Loopback {
    /// Takes a port that is free on 127.0.0.1 and on ::1, where this machine has both: `localhost` may be either, and whoever else listened at one of them
    /// would get the code. `redirect` names another port, path or address of this machine.
    pub(super) async fn bind(redirect: Option<&Url>) -> Result<Self, SignInError> {
        let (host, port, path) = match redirect {
            None => ("localhost".to_owned(), 0, PATH.to_owned()),
            Some(url) => here(url).ok_or_else(|| SignInError::Redirect(url.to_string()))?,
        };
        let listeners = listeners(&host, port).await.map_err(SignInError::Listen)?;
        let first = listeners.first().map(TcpListener::local_addr);
        let port = first
            .unwrap_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()))
            .map_err(SignInError::Listen)?
            .port();
        Ok(Self {
            port,
            host,
            path,
            listeners,
        })
    }

    /// Where the provider is to send the browser.
    pub(super) fn url(&self) -> String {
        format!("http://{}:{}{}", self.host, self.port, self.path)
    }

    /// Waits for the answer that carries `state`.
    pub(super) async fn wait(self, state: &str) -> io::Result<Callback> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
            let stream = tokio::select! {
                biased;
                Some(callback) = receiver.recv() => {
                    // The page is on its way already; nobody else is waited for.
                    return Ok(callback);
                }
                stream = self.accept() => stream,
            };
            let stream = match stream {
                Ok(stream) => stream,
                // One that did not come about ends nothing; how long anybody waits is for the caller to say.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (sender, path, state) = (sender.clone(), self.path.clone(), state.to_owned());
            connections.spawn(async move {
                let served = serve(stream, &path, &state);
                if let Ok(Ok(Some(callback))) =
                    tokio::time::timeout(CONNECTION_TIMEOUT, served).await
                {
                    // Full: another connection was first with the same answer.
                    let _first = sender.try_send(callback);
                }
            });
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let accepted = match self.listeners.as_slice() {
            [first, second, ..] => tokio::select! {
                accepted = first.accept() => accepted,
                accepted = second.accept() => accepted,
            },
            [only] => only.accept().await,
            [] => return Err(io::ErrorKind::NotConnected.into()),
        };
        accepted.map(|(stream, _)| stream)
    }
}

/// Listens at what `host` means, with port 0 at a port that is free at all of it.
async fn listeners(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    if host == "127.0.0.1" {
        return Ok(vec![TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?]);
    }
    if host == "[::1]" {
        return Ok(vec![TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await?]);
    }
    let mut attempt: u32 = 1;
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let found = first.local_addr()?.port();
        match TcpListener::bind((Ipv6Addr::LOCALHOST, found)).await {
            Ok(second) => return Ok(vec![first, second]),
            // It is somebody else's there: another port, unless it has to be this one.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if port != 0 || attempt >= PORTS_MAX {
                    return Err(error);
                }
                attempt += 1;
            }
            // This machine has no such address, so nobody can be there.
            Err(_) => return Ok(vec![first]),
        }
    }
}

/// Host, port and path of a redirect to this machine. `http` only: nobody vouches for a certificate of `localhost`.
fn here(url: &Url) -> Option<(String, u16, String)> {
    let local = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address == Ipv4Addr::LOCALHOST,
        Host::Ipv6(address) => address == Ipv6Addr::LOCALHOST,
    };
    let plain = url.username().is_empty() && url.password().is_none();
    let simple = plain && url.query().is_none() && url.fragment().is_none();
    (local && simple && url.scheme() == "http").then_some(())?;
    let port = url.port_or_known_default()?;
    Some((url.host_str()?.to_owned(), port, url.path().to_owned()))
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    state: &str,
) -> io::Result<Option<Callback>> {
    let mut request = Vec::new();
    let mut piece = [0; 2048];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut piece).await?;
        if count == 0 || request.len() + count > REQUEST_MAX {
            return Ok(None);
        }
        request.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    let callback = understand(&request, path, state);
    let (status, text) = match &callback {
        Some(Callback::Code(_)) => ("200 OK", DONE),
        Some(Callback::Refused(_)) => ("200 OK", NOT_DONE),
        None => ("400 Bad Request", NOT_OURS),
    };
    let page =
        format!("<!doctype html><meta charset=\"utf-8\"><title>cosign-rs</title><p>{text}\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         content-security-policy: default-src 'none'\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    // A browser that does not wait for the page has brought the answer all the same.
    let page = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    if !matches!(tokio::time::timeout(PAGE_TIMEOUT, page).await, Ok(Ok(()))) {
        tracing::debug!("the browser did not take the page");
    }
    Ok(callback)
}

/// The answer, if it is one to our question.
fn understand(request: &[u8], path: &str, expected: &str) -> Option<Callback> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let target = line.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?;
    let url = Url::parse("http://localhost").ok()?.join(target).ok()?;
    if url.path() != path {
        return None;
    }
    let parameter = |name: &str| {
        let mut found = url.query_pairs().filter(|(other, _)| other == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value.into_owned()),
            _ => None,
        }
    };
    // RFC 6749 10.12. The state is used once, so that its comparison has no time to leak anything.
    if parameter("state")? != expected {
        return None;
    }
    if let Some(error) = parameter("error") {
        let why = parameter("error_description").unwrap_or_default();
        return Some(Callback::Refused(
            format!("{error} {why}").trim().to_owned(),
        ));
    }
    Some(Callback::Code(parameter("code")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Option<Callback> {
        understand(
            format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes(),
            PATH,
            "s+1",
        )
    }

    #[test]
    fn only_the_answer_with_our_state_counts() {
        let code = Some(Callback::Code("c".into()));
        assert_eq!(get("/auth/callback?code=c&state=s%2B1"), code);
        for target in [
            "/auth/callback?code=c",
            "/auth/callback?code=c&state=s",
            "/auth/callback?code=c&state=s%2B1&state=x",
            "/auth/callback?state=s%2B1",
            "/auth/callback?code=a&code=b&state=s%2B1",
            "/?code=c&state=s%2B1",
            "//elsewhere/auth/callback",
            "",
        ] {
            assert_eq!(get(target), None, "{target}");
        }
        assert_eq!(
            get("/auth/callback?error=access_denied&error_description=no+way&state=s%2B1"),
            Some(Callback::Refused("access_denied no way".into()))
        );
        assert_eq!(understand(b"POST / HTTP/1.1\r\n\r\n", "/", "s"), None);
        assert_eq!(understand(b"\xff\xfe", "/", "s"), None);
    }

    #[tokio::test]
    async fn a_redirect_leads_to_this_machine() {
        let bound = async |text: &str| Loopback::bind(Some(&Url::parse(text).unwrap())).await;
        let other = bound("http://127.0.0.1:0/cb").await.unwrap();
        assert_eq!(other.url(), format!("http://127.0.0.1:{}/cb", other.port));
        for elsewhere in [
            "https://localhost:0/",
            "http://example.org/",
            "http://localhost.example.org/",
            "http://user@localhost:0/",
            "http://localhost:0/?x",
            "urn:ietf:wg:oauth:2.0:oob",
        ] {
            assert!(
                matches!(bound(elsewhere).await, Err(SignInError::Redirect(_))),
                "{elsewhere}"
            );
        }
    }

    #[tokio::test]
    async fn a_wrong_answer_changes_nothing_and_the_right_one_ends_the_wait() {
        let loopback = Loopback::bind(None).await.unwrap();
        let port = loopback.port;
        let waiting = tokio::spawn(async move { loopback.wait("right").await });
        let ask = async |state: &str| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap();
            let request =
                format!("GET {PATH}?code=c&state={state} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        assert!(ask("wrong").await.starts_with("HTTP/1.1 400"));
        assert!(ask("right").await.contains(DONE));
        assert_eq!(
            waiting.await.unwrap().unwrap(),
            Callback::Code("c".to_owned())
        );
    }

    #[tokio::test]
    async fn nobody_else_listens_where_the_browser_may_come_back_to() {
        let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
            return;
        };
        let port = other.local_addr().unwrap().port();
        let fixed = format!("http://localhost:{port}/cb");
        let refused = Loopback::bind(Some(&Url::parse(&fixed).unwrap())).await;
        assert!(matches!(refused, Err(SignInError::Listen(_))));
        let free = Loopback::bind(None).await.unwrap();
        assert_eq!(free.listeners.len(), 2);
        assert_ne!(free.port, port);
        let only = format!("http://127.0.0.1:{port}/cb");
        let only = Loopback::bind(Some(&Url::parse(&only).unwrap())).await;
        assert_eq!(only.unwrap().listeners.len(), 1);
    }

    /// It closes the connection as soon as it has asked, so that nothing can be written to it.
    #[tokio::test]
    async fn a_browser_that_does_not_wait_for_the_page_has_brought_the_code() {
        let (mut browser, here) = tokio::io::duplex(4096);
        let request = format!("GET {PATH}?code=c&state=s HTTP/1.1\r\nhost: localhost\r\n\r\n");
        browser.write_all(request.as_bytes()).await.unwrap();
        drop(browser);
        let callback = serve(here, PATH, "s").await.unwrap();
        assert_eq!(callback, Some(Callback::Code("c".to_owned())));
    }
}
