//! Asking one server, over UDP.

use std::time::Duration;

use jiff::Timestamp;
use tokio::net::UdpSocket;

use super::packet::{self, Kiss, Offset, Useless};
use super::ticks::Ticks;

/// Packets that are no answer to us, or too few bytes of one, and are passed over before a server counts as silent.
const STRAY: usize = 16;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Said(Offset),
    /// The server wants not to be asked.
    Refused(Kiss),
    /// No answer, or none that says anything.
    Nothing(String),
}

/// Asks once: one packet of 48 bytes, and never a second one. `server` is `host:port`.
pub(crate) async fn ask(
    server: &str,
    limit: Duration,
    now: &(impl Fn() -> Timestamp + Sync),
    ticks: &Ticks,
) -> Outcome {
    match tokio::time::timeout(limit, exchange(server, now, ticks)).await {
        Ok(outcome) => outcome.unwrap_or_else(|error| Outcome::Nothing(error.to_string())),
        Err(_late) => Outcome::Nothing(format!("no answer within {limit:?}")),
    }
}

async fn exchange(
    server: &str,
    now: &(impl Fn() -> Timestamp + Sync),
    ticks: &Ticks,
) -> std::io::Result<Outcome> {
    let mut addresses = tokio::net::lookup_host(server).await?;
    let Some(address) = addresses.next() else {
        return Ok(Outcome::Nothing("the name has no address".to_owned()));
    };
    // A port of its own for each question, which an attacker who does not see it has to guess beside the cookie.
    let here = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(here).await?;
    // From now on only this server's packets come.
    socket.connect(address).await?;
    let cookie = signer::random::bytes().map_err(std::io::Error::other)?;
    let cookie = u64::from_be_bytes(cookie);
    let (asked, begun) = (now(), ticks.now());
    socket.send(&packet::question(cookie)).await?;
    let mut buffer = [0; 512];
    for _ in 0..STRAY {
        let length = socket.recv(&mut buffer).await?;
        let took = ticks.now().saturating_sub(begun);
        let answer = packet::read(buffer.get(..length).unwrap_or_default(), cookie);
        match answer.and_then(|answer| answer.offset(asked, took)) {
            Ok(offset) => return Ok(Outcome::Said(offset)),
            // Somebody else's, or made up: the true one may still come.
            Err(Useless::Origin | Useless::Short(_)) => {}
            Err(Useless::Kiss(kiss)) => return Ok(Outcome::Refused(kiss)),
            Err(useless) => return Ok(Outcome::Nothing(useless.to_string())),
        }
    }
    Ok(Outcome::Nothing(format!(
        "{STRAY} packets that are no answer to the question"
    )))
}
