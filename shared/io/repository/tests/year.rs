//! Four hundred days of a repository, with everything that happens in them; the publisher is killed at every write, and readers look after each; and
//! others are under way all the while, whose files are of several moments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod common;

use std::path::Path;

use common::poll::{Polled, Reader};
use common::{
    all_clients, client, content, days, key, open, people, policy, published_with, restarted,
    sign_all, signers, start,
};
use jiff::{SignedDuration, Timestamp as Time};
use keys::Algorithm;
use repository::{Done, Level, Repository, RepositoryError, Timestamp, Writer};
use signer::Signer;
use store::sim::SimDisk;
use tuf::RoleName;

/// The people, who change in the course of the year, and the online keys at hand.
struct World {
    disk: SimDisk,
    offline: Vec<Signer>,
    online: Vec<Signer>,
    /// Newest timestamp that any reader saw: it never goes back.
    seen: u64,
    kills: u64,
    /// Comes by before everything that happens, and keeps a cache.
    regular: Reader,
    /// Readers that were under way while something was published.
    polls: usize,
}

impl World {
    /// Readers at this moment, of every root if `all`, else of the first and of the newest: nothing expired, nothing inconsistent, nothing older than before.
    fn look(&mut self, disk: &SimDisk, all: bool, now: Time) {
        let seen = if all {
            all_clients(disk, now)
        } else {
            let read = |root| {
                client(disk, root, now)
                    .unwrap_or_else(|error| panic!("at {now} from root {root}: {error}"))
            };
            let seen = read(1);
            assert_eq!(read(seen.root.get()), seen);
            seen
        };
        assert!(
            seen.timestamp.get() >= self.seen,
            "at {now} the timestamp went back"
        );
        self.seen = seen.timestamp.get();
    }

    /// Publishes (or refreshes) as a process that nobody stops, with readers that begin before each of its writes and ask on between the next ones:
    /// a stranger, and one with a cache.
    async fn polled(&mut self, what: What, now: Time) {
        let disk = restarted(&self.disk);
        self.regular = self.regular.begin(now, 1);
        self.regular.finish_all(&disk);
        let begin = vec![Reader::new(&disk), self.regular.clone()];
        let polled = Polled::new(&disk, begin, now);
        let repository = Repository::open(polled.clone(), Path::new("trust")).unwrap();
        let writer = repository.write().unwrap();
        self.done(&writer, what, now).await.unwrap();
        self.polls += polled.finish();
    }

    async fn done(
        &self,
        writer: &Writer<'_>,
        what: What,
        now: Time,
    ) -> Result<Done, RepositoryError> {
        match what {
            What::Publish => writer.publish(&self.online, now).await,
            What::Refresh => writer.refresh(&self.online, Timestamp::WhenDue, now).await,
        }
    }

    /// Publishes (or refreshes) as a process that is killed at every write in turn and started again, with readers after each; ends with one that
    /// comes through.
    async fn killed_everywhere(&mut self, what: What, now: Time) {
        for writes in 0.. {
            let disk = restarted(&self.disk);
            let before = disk.operations();
            disk.stop_after(before + writes);
            let outcome = self.act(&disk, what, now).await;
            // What the next process finds, and with it every reader.
            let left = restarted(&disk);
            self.look(&left, outcome, now);
            if outcome {
                self.disk = left;
                return;
            }
            self.kills += 1;
            // The next process finishes it from wherever the kill was.
            let finished = restarted(&left);
            assert!(
                self.act(&finished, what, now).await,
                "not continued at {now} after a kill at write {writes}"
            );
            let settled = restarted(&finished);
            let floor = self.seen;
            self.look(&settled, false, now);
            // The branch that was finished is left; the next kill is one write further on the same day.
            self.seen = floor;
        }
    }

    async fn act(&self, disk: &SimDisk, what: What, now: Time) -> bool {
        let repository = open(disk);
        let Ok(writer) = repository.write() else {
            return false;
        };
        match self.done(&writer, what, now).await {
            Ok(_) => true,
            // What a stopped disk says; anything else is a mistake.
            Err(RepositoryError::Disk { .. }) => false,
            Err(error) => panic!("at {now}: {error}"),
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    Publish,
    Refresh,
}

#[tokio::test]
async fn four_hundred_days_without_a_moment_that_a_client_would_refuse() {
    let disk = SimDisk::strict(|path| {
        let name = path.as_str();
        // What has a version or a hash in its name never gets other bytes.
        name.starts_with("published/")
            && !name.ends_with("/timestamp.json")
            && !name.ends_with("/root.json")
    });
    let offline = people(3);
    let online = vec![key(Algorithm::EcdsaP256Sha256)];
    // Shorter lives than usual, so that each role is renewed by people within the year.
    let policy = policy().replace(
        "life = \"365d\"\nrenew = \"60d\"",
        "life = \"100d\"\nrenew = \"30d\"",
    );
    published_with(&disk, &policy, &offline, &online[0], start()).await;
    let mut world = World {
        regular: Reader::new(&disk),
        disk,
        offline,
        online,
        seen: 0,
        kills: 0,
        polls: 0,
    };
    let mut events = 0;
    for day in 0..400 {
        // Between two days, at the worst hour: just before the daemon looks again.
        let before = start() + days(day) - SignedDuration::from_secs(1);
        if day > 0 {
            let disk = restarted(&world.disk);
            world.look(&disk, false, before);
        }
        let now = start() + days(day);
        let repository = open(&world.disk);
        let status = repository.status(now).unwrap();
        assert_ne!(status.level, Level::Broken, "day {day}: {:?}", status.notes);
        let due = |role: &str| {
            status
                .roles
                .iter()
                .any(|one| one.role == role && one.level == Level::Due)
        };
        let mut staged = false;
        // What people are told to renew, they renew some days later.
        let renewing = [RoleName::ROOT, RoleName::TARGETS]
            .into_iter()
            .filter(|role| due(role.as_str()));
        for role in renewing {
            let writer = repository.write().unwrap();
            if role == RoleName::ROOT {
                writer.edit_root(now, |_| Ok(())).unwrap();
            } else {
                writer
                    .edit_targets(now, &content(&format!("renewed on day {day}")), |_| Ok(()))
                    .unwrap();
            }
            staged = true;
        }
        match day {
            // A new target.
            20 | 130 => {
                let writer = repository.write().unwrap();
                writer
                    .edit_targets(now, &content(&format!("day {day}")), |_| Ok(()))
                    .unwrap();
                staged = true;
            }
            // One of the people leaves.
            60 | 240 => {
                let newcomer = key(Algorithm::Ed25519);
                world.offline.push(newcomer);
                let staying = signers(&world.offline[world.offline.len() - 3..], 2);
                let writer = repository.write().unwrap();
                for role in [RoleName::ROOT, RoleName::TARGETS] {
                    writer.set_signers(&role, &staying, now).unwrap();
                }
                staged = true;
            }
            // All leave.
            150 => {
                world.offline.extend(people(3));
                let staying = signers(&world.offline[world.offline.len() - 3..], 2);
                let writer = repository.write().unwrap();
                for role in [RoleName::ROOT, RoleName::TARGETS] {
                    writer.set_signers(&role, &staying, now).unwrap();
                }
                staged = true;
            }
            // The online key changes.
            90 | 310 => {
                let fresh = key(Algorithm::EcdsaP256Sha256);
                let writer = repository.write().unwrap();
                for role in [RoleName::SNAPSHOT, RoleName::TIMESTAMP] {
                    writer
                        .set_signers(&role, &signers(std::slice::from_ref(&fresh), 1), now)
                        .unwrap();
                }
                world.online.push(fresh);
                staged = true;
            }
            // A stricter threshold, and back.
            200 | 220 => {
                let chosen = signers(
                    &world.offline[world.offline.len() - 3..],
                    if day == 200 { 3 } else { 2 },
                );
                let writer = repository.write().unwrap();
                for role in [RoleName::ROOT, RoleName::TARGETS] {
                    writer.set_signers(&role, &chosen, now).unwrap();
                }
                staged = true;
            }
            _ => {}
        }
        if staged {
            events += 1;
            let disk = world.disk.clone();
            sign_all(&open(&disk), &world.offline, now).await;
            world.polled(What::Publish, now).await;
            world.killed_everywhere(What::Publish, now).await;
            let left: Vec<String> = open(&world.disk).list("staged").unwrap();
            assert!(
                left.iter().all(|name| name == "targets"),
                "day {day}: {left:?}"
            );
        }
        if staged || day % 40 == 0 {
            world.polled(What::Refresh, now).await;
            world.killed_everywhere(What::Refresh, now).await;
        } else {
            let disk = restarted(&world.disk);
            assert!(world.act(&disk, What::Refresh, now).await);
            world.disk = restarted(&disk);
        }
    }
    assert_eq!(world.disk.violations(), Vec::<String>::new());
    assert!(events >= 12, "{events}");
    assert!(world.kills > 100, "{}", world.kills);
    assert!(world.polls > 400, "{}", world.polls);
    // A client that slept through all of it.
    assert!(
        client(&world.disk, 1, start() + days(400))
            .unwrap()
            .root
            .get()
            >= 8
    );
}
