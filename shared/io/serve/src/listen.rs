//! Sockets: what address to listen on, and which one it became.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::tls::Tls;

/// How often a port that the kernel chose for IPv4 is tried again when IPv6 already has it.
const PORT_ATTEMPTS: usize = 16;

/// `127.0.0.1:3000`, `[::]:3000`, or `localhost:3000`, which means both loopback addresses. Port 0 lets the kernel choose.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenAddress {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// 127.0.0.1 and ::1: clients differ in which of them they try first for this name.
    Localhost,
    Address(IpAddr),
}

/// A socket could not be had.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The text is not an address.
    #[error(
        "'{0}' is not a listen address: expected an IP address or 'localhost', a colon and a port"
    )]
    Syntax(String),
    /// The kernel refused.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl ListenAddress {
    /// Both loopback addresses at `port`.
    pub const fn localhost(port: u16) -> Self {
        Self {
            host: Host::Localhost,
            port,
        }
    }

    /// The port that was asked for; 0 means any.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// An address under which this machine reaches the listener: loopback for a wildcard.
    pub fn local(&self) -> SocketAddr {
        let address = match self.host {
            Host::Localhost => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Address(IpAddr::V4(address)) if address.is_unspecified() => {
                IpAddr::V4(Ipv4Addr::LOCALHOST)
            }
            Host::Address(IpAddr::V6(address)) if address.is_unspecified() => {
                IpAddr::V6(Ipv6Addr::LOCALHOST)
            }
            Host::Address(address) => address,
        };
        SocketAddr::new(address, self.port)
    }
}

impl FromStr for ListenAddress {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let wrong = || ListenError::Syntax(text.chars().take(100).collect());
        if let Some(port) = text.strip_prefix("localhost:") {
            return Ok(Self::localhost(port.parse().map_err(|_| wrong())?));
        }
        let address: SocketAddr = text.parse().map_err(|_| wrong())?;
        Ok(Self {
            host: Host::Address(address.ip()),
            port: address.port(),
        })
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = ListenError;

    fn try_from(text: String) -> Result<Self, ListenError> {
        text.parse()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Localhost => write!(f, "localhost:{}", self.port),
            Host::Address(address) => SocketAddr::new(address, self.port).fmt(f),
        }
    }
}

/// Open sockets of one service, all with the same port.
#[derive(Debug)]
pub struct Listeners {
    address: ListenAddress,
    pub(crate) sockets: Vec<TcpListener>,
    pub(crate) tls: Option<Tls>,
}

impl Listeners {
    /// Opens the socket(s). For `localhost`, IPv6 may be missing from the machine, but not be taken by somebody else: a
    /// client that tried `::1` first would then talk to a stranger.
    pub async fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        let bind = |source| ListenError::Bind {
            address: address.to_string(),
            source,
        };
        match address.host {
            Host::Address(ip) => {
                let socket = TcpListener::bind((ip, address.port)).await.map_err(bind)?;
                Self::of(address.host.clone(), vec![socket]).map_err(bind)
            }
            Host::Localhost => {
                let mut attempts = if address.port == 0 { PORT_ATTEMPTS } else { 1 };
                loop {
                    attempts -= 1;
                    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, address.port))
                        .await
                        .map_err(bind)?;
                    let port = v4.local_addr().map_err(bind)?.port();
                    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                        Ok(v6) => return Self::of(Host::Localhost, vec![v4, v6]).map_err(bind),
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                            return Err(bind(error));
                        }
                        Err(_no_ipv6_here) => {
                            return Self::of(Host::Localhost, vec![v4]).map_err(bind);
                        }
                    }
                }
            }
        }
    }

    fn of(host: Host, sockets: Vec<TcpListener>) -> io::Result<Self> {
        let port = match sockets.first() {
            Some(socket) => socket.local_addr()?.port(),
            None => 0,
        };
        Ok(Self {
            address: ListenAddress { host, port },
            sockets,
            tls: None,
        })
    }

    /// The same sockets, speaking TLS.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The address with the port that we really have.
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The port that we really have.
    pub const fn port(&self) -> u16 {
        self.address.port
    }

    /// `http://localhost:3000`, without a slash at the end.
    pub fn base_url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match self.address.host {
            Host::Localhost => format!("{scheme}://{}", self.address),
            Host::Address(_) => format!("{scheme}://{}", self.address.local()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["localhost:3000", "127.0.0.1:0", "[::1]:8080", "0.0.0.0:80"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_and_missing_ports_are_refused() {
        for text in [
            "",
            "localhost",
            "example.org:80",
            "localhost:65536",
            "127.0.0.1",
            "::1:80:90",
        ] {
            assert!(
                matches!(text.parse::<ListenAddress>(), Err(ListenError::Syntax(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wildcard_is_reached_over_loopback() {
        let address: ListenAddress = "0.0.0.0:80".parse().unwrap();
        assert_eq!(address.local().to_string(), "127.0.0.1:80");
    }

    #[tokio::test]
    async fn localhost_has_one_port_on_both_addresses() {
        let listeners = Listeners::bind(&ListenAddress::localhost(0)).await.unwrap();
        assert_ne!(listeners.port(), 0);
        for socket in &listeners.sockets {
            assert_eq!(socket.local_addr().unwrap().port(), listeners.port());
        }
        assert_eq!(
            listeners.base_url(),
            format!("http://localhost:{}", listeners.port())
        );
        let again = Listeners::bind(listeners.address()).await;
        assert!(matches!(again, Err(ListenError::Bind { .. })));
    }
}
