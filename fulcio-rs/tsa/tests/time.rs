//! The clock against servers on loopback that say what a test has them say.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a panic is a test's report"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serve::Clock;
use tokio::net::UdpSocket;
use tsa_rs::time::{Doubt, Memory, Servers, Ticks, Timekeeper, Watch};

fn start() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

/// What a server answers.
#[derive(Clone, Copy, Debug)]
enum Says {
    /// That it is so much later than our clock has it, in milliseconds.
    Ahead(i64),
    /// The same, and its own clock may be off by so much.
    Vague(i64, u16),
    Silence,
    /// A packet made up by somebody who has not seen the question, and then the true one.
    Forged,
    Kiss(&'static [u8; 4]),
    Unsynchronized,
    /// The truth, and then somebody sets our clock by three seconds.
    Meddled,
}

struct Server {
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<usize>>,
    name: String,
}

impl Server {
    async fn start(clock: &Clock, says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let name = socket.local_addr().unwrap().to_string();
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::new(Mutex::new(0)));
        let (saying, counting, clock) = (says.clone(), asked.clone(), clock.clone());
        tokio::spawn(async move {
            let mut question = [0; 100];
            loop {
                let (length, from) = socket.recv_from(&mut question).await.unwrap();
                assert_eq!((length, question[0]), (48, 0x23), "no question of ours");
                *counting.lock().unwrap() += 1;
                let says = *saying.lock().unwrap();
                let packets = answers(&question[40..48], clock.now(), says);
                if matches!(says, Says::Meddled) {
                    clock.advance(Duration::from_secs(3));
                }
                for packet in packets {
                    socket.send_to(&packet, from).await.unwrap();
                }
            }
        });
        Self { says, asked, name }
    }

    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// RFC 5905 7.3, written down once more and by hand.
fn answers(cookie: &[u8], now: Timestamp, says: Says) -> Vec<[u8; 48]> {
    let (ahead, vague) = match says {
        Says::Ahead(ahead) => (ahead, 0),
        Says::Vague(ahead, vague) => (ahead, vague),
        _ => (0, 0),
    };
    let mut packet = [0; 48];
    packet[..4].copy_from_slice(&[0x24, 1, 6, 0xec]);
    packet[8..12].copy_from_slice(&(u32::from(vague) * 65536 / 1000).to_be_bytes());
    packet[24..32].copy_from_slice(cookie);
    let then = now + SignedDuration::from_millis(ahead);
    let seconds = u32::try_from(then.as_second() + 2_208_988_800).unwrap();
    let fraction = u64::try_from(then.subsec_nanosecond()).unwrap() * (1 << 32) / 1_000_000_000;
    for at in [32, 40] {
        packet[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
        packet[at + 4..at + 8].copy_from_slice(&u32::try_from(fraction).unwrap().to_be_bytes());
    }
    match says {
        Says::Ahead(_) | Says::Vague(..) | Says::Meddled => vec![packet],
        Says::Silence => Vec::new(),
        Says::Forged => {
            let mut forged = packet;
            forged[24] ^= 1;
            forged[40] ^= 1;
            vec![forged, packet]
        }
        Says::Kiss(code) => {
            packet[1] = 0;
            packet[12..16].copy_from_slice(code);
            vec![packet]
        }
        Says::Unsynchronized => {
            packet[0] |= 0xc0;
            vec![packet]
        }
    }
}

struct Room {
    servers: Vec<Server>,
    clock: Clock,
    ticks: Ticks,
    keeper: Timekeeper,
}

impl Room {
    async fn with(says: &[Says]) -> Self {
        let (clock, ticks) = (Clock::fixed(start()), Ticks::fixed());
        let mut servers = Vec::new();
        for says in says {
            servers.push(Server::start(&clock, *says).await);
        }
        let watch = Watch {
            servers: Some(Servers {
                names: servers.iter().map(|server| server.name.clone()).collect(),
                quorum: servers.len() / 2 + 1,
                most: Duration::from_secs(1),
                every: Duration::from_mins(1),
                lasts: Duration::from_mins(5),
                // Of the machine's own time: a server that is silent costs a test so much.
                limit: Duration::from_millis(300),
            }),
            assumed: Duration::ZERO,
        };
        let keeper = Timekeeper::new(clock.clone(), ticks.clone(), watch, None).unwrap();
        Self {
            servers,
            clock,
            ticks,
            keeper,
        }
    }

    /// Time goes by, for both clocks.
    fn pass(&self, by: Duration) {
        self.clock.advance(by);
        self.ticks.advance(by);
    }

    fn error(&self) -> u128 {
        self.keeper.now().unwrap().error.as_millis()
    }
}

#[tokio::test]
async fn there_is_no_time_before_the_first_check() {
    let room = Room::with(&[Says::Ahead(0)]).await;
    let doubt = room.keeper.now().unwrap_err();
    assert!(matches!(doubt, Doubt::Unchecked(_)), "{doubt}");
    room.keeper.check().await;
    let moment = room.keeper.now().unwrap();
    assert_eq!(moment.at, start());
    // No server is believed to be better than five milliseconds.
    assert_eq!(moment.error, Duration::from_millis(5));
}

#[tokio::test]
async fn the_error_is_what_was_measured() {
    let room = Room::with(&[Says::Ahead(40), Says::Vague(40, 100), Says::Ahead(-40)]).await;
    room.keeper.check().await;
    // At least two of three are right: the second, and the first or the third.
    assert_eq!(room.error(), 45);
    // The clock wanders, and nobody looks: 100 parts of a million.
    room.pass(Duration::from_secs(200));
    assert_eq!(room.error(), 65);
    room.pass(Duration::from_secs(101));
    let doubt = room.keeper.now().unwrap_err();
    assert!(matches!(doubt, Doubt::Stale { .. }), "{doubt}");
    room.keeper.check().await;
    assert_eq!(room.error(), 45);
}

#[tokio::test]
async fn a_clock_that_is_wrong_gives_no_time() {
    let room = Room::with(&[Says::Ahead(2000), Says::Ahead(2001), Says::Ahead(1999)]).await;
    room.keeper.check().await;
    let doubt = room.keeper.now().unwrap_err();
    assert!(
        matches!(doubt, Doubt::Off { off, .. } if off.as_millis() >= 2000),
        "{doubt}"
    );
    // Set right, and looked at again.
    room.clock.advance(Duration::from_secs(2));
    for server in &room.servers {
        server.says(Says::Ahead(0));
    }
    room.keeper.check().await;
    assert_eq!(room.error(), 5);
}

#[tokio::test]
async fn one_liar_among_three_changes_nothing() {
    for lie in [
        Says::Ahead(3_600_000),
        Says::Ahead(-3_600_000),
        Says::Silence,
        Says::Kiss(b"DENY"),
        Says::Unsynchronized,
    ] {
        let room = Room::with(&[Says::Vague(5, 10), lie, Says::Forged]).await;
        room.keeper.check().await;
        assert!(room.error() <= 5, "{lie:?}");
    }
}

#[tokio::test]
async fn two_liars_among_three_give_no_time() {
    for lies in [
        [Says::Silence, Says::Silence],
        [Says::Ahead(3_600_000), Says::Ahead(-3_600_000)],
        [Says::Silence, Says::Ahead(3_600_000)],
        [Says::Unsynchronized, Says::Kiss(b"RSTR")],
        [Says::Vague(0, 2000), Says::Silence],
    ] {
        let room = Room::with(&[Says::Ahead(0), lies[0], lies[1]]).await;
        room.keeper.check().await;
        let doubt = room.keeper.now().unwrap_err();
        assert!(matches!(doubt, Doubt::Unchecked(_)), "{lies:?} {doubt}");
    }
}

/// A check that finds nothing out does not take back what the last one did, until that is too old.
#[tokio::test]
async fn servers_may_be_silent_for_a_while() {
    let room = Room::with(&[Says::Ahead(0)]).await;
    room.keeper.check().await;
    room.servers[0].says(Says::Silence);
    room.pass(Duration::from_mins(2));
    room.keeper.check().await;
    assert!(room.keeper.now().is_ok());
    room.pass(Duration::from_mins(4));
    let doubt = room.keeper.now().unwrap_err();
    assert!(
        doubt.to_string().contains("0 of 1 servers said something"),
        "{doubt}"
    );
}

#[tokio::test]
async fn a_step_between_two_checks_is_seen() {
    let room = Room::with(&[Says::Ahead(0)]).await;
    room.keeper.check().await;
    // A small one costs accuracy, in either direction; a token before would forbid the second.
    room.clock.advance(Duration::from_millis(300));
    assert_eq!(room.error(), 305);
    room.clock.advance(Duration::from_secs(1));
    let doubt = room.keeper.now().unwrap_err();
    assert!(matches!(doubt, Doubt::Off { .. }), "{doubt}");
    // The servers say that it is right now: then it was wrong before.
    room.keeper.check().await;
    assert_eq!(room.error(), 5);
    room.clock.set(start());
    let doubt = room.keeper.now().unwrap_err();
    assert!(matches!(doubt, Doubt::Off { .. }), "{doubt}");
    room.keeper.check().await;
    assert_eq!(room.keeper.now().unwrap().at, start());
}

/// The answers are about the clock that was, and do not vouch for the one that is.
#[tokio::test]
async fn a_step_during_a_check_is_seen() {
    let room = Room::with(&[Says::Meddled]).await;
    room.keeper.check().await;
    let doubt = room.keeper.now().unwrap_err();
    assert!(
        matches!(doubt, Doubt::Off { off, .. } if off >= Duration::from_secs(3)),
        "{doubt}"
    );
    room.servers[0].says(Says::Ahead(-3000));
    room.keeper.check().await;
    assert!(room.keeper.now().is_err());
    room.clock.set(start());
    room.servers[0].says(Says::Ahead(0));
    room.keeper.check().await;
    assert_eq!(room.error(), 5);
}

#[tokio::test]
async fn a_clock_goes_back_only_with_the_servers_word_for_it() {
    let room = Room::with(&[Says::Ahead(0)]).await;
    room.keeper.check().await;
    room.pass(Duration::from_secs(10));
    assert!(room.keeper.now().is_ok());
    room.clock.set(start() + Duration::from_millis(9_900));
    let doubt = room.keeper.now().unwrap_err();
    assert!(matches!(doubt, Doubt::Backwards { .. }), "{doubt}");
    room.keeper.check().await;
    assert!(room.keeper.now().is_ok());
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is() {
    let room = Room::with(&[Says::Kiss(b"RATE"), Says::Kiss(b"DENY"), Says::Ahead(0)]).await;
    for _ in 0..20 {
        room.keeper.check().await;
    }
    let asked: Vec<usize> = room.servers.iter().map(Server::asked).collect();
    assert_eq!(asked, [3, 1, 20]);
}

#[tokio::test]
async fn the_latest_time_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latest");
    let clock = Clock::fixed(start());
    let keeper = |clock: &Clock| {
        let memory = Some(Memory::at(&path));
        Timekeeper::new(clock.clone(), Ticks::fixed(), Watch::default(), memory)
    };
    let first = keeper(&clock).unwrap();
    clock.advance(Duration::from_mins(1));
    first.now().unwrap();
    // As a service that is stopped.
    first.watch(std::future::ready(())).await;

    clock.set(start());
    let second = keeper(&clock).unwrap();
    let doubt = second.now().unwrap_err();
    assert!(matches!(doubt, Doubt::Backwards { .. }), "{doubt}");
    clock.advance(Duration::from_mins(1));
    assert!(second.now().is_ok());

    std::fs::write(&path, "soon").unwrap();
    let error = keeper(&clock).unwrap_err().to_string();
    assert!(error.contains("remove the file"), "{error}");
}
