//! How things stand: for people, for monitors, for Prometheus.

use jiff::Timestamp as Time;
use serde::Serialize;
use trust::review;
use tuf::metadata::{Role, Version};
use tuf::{Progress, RoleName};

use crate::error::RepositoryError;
use crate::published::{chain, walk};
use crate::repository::Repository;
use crate::{SIGNING_CONFIG, TRUSTED_ROOT, trusted};

/// What a monitor should do. The numbers are exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Ok,
    /// Tell somebody: something is due, or waits.
    Due,
    /// Wake somebody: clients fail, or will within a day.
    Broken,
}

impl Level {
    /// The exit code of `status`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Due => 3,
            Self::Broken => 4,
        }
    }
}

/// A role in force.
#[derive(Clone, Debug, Serialize)]
pub struct RoleStatus {
    /// Its name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// Its end.
    pub expires: Time,
    /// When it is to be signed again.
    pub due: Time,
    /// How bad that is.
    pub level: Level,
    /// Signers: how many have to, and how many there are.
    pub threshold: usize,
    /// Of how many.
    pub keys: usize,
}

/// A request that waits.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// Its role.
    pub role: String,
    /// The version that it makes.
    pub version: u64,
    /// How far each threshold is, with who is missing.
    pub signatures: Vec<Signatures>,
    /// Can it be published?
    pub complete: bool,
}

/// How far a threshold is.
#[derive(Clone, Debug, Serialize)]
pub struct Signatures {
    /// Who asks for them.
    pub by: String,
    /// How many there are.
    pub have: usize,
    /// How many there have to be.
    pub threshold: usize,
    /// Who has not signed.
    pub missing: Vec<String>,
}

/// What a client sees now.
#[derive(Clone, Debug, Serialize)]
pub struct ClientView {
    /// The root it starts at.
    pub start: u64,
    /// The root it comes to.
    pub root: Option<u64>,
    /// Why it fails, if it does.
    pub error: Option<String>,
}

/// How things stand.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The worst of it.
    pub level: Level,
    /// Roles in force.
    pub roles: Vec<RoleStatus>,
    /// Requests that wait for signatures.
    pub waiting: Vec<Waiting>,
    /// Clients, by the root that they start at.
    pub clients: Vec<ClientView>,
    /// What else somebody should do.
    pub notes: Vec<String>,
}

impl Repository {
    /// Looks at everything.
    pub fn status(&self, now: Time) -> Result<Status, RepositoryError> {
        let mut status = Status {
            level: Level::Ok,
            roles: Vec::new(),
            waiting: Vec::new(),
            clients: Vec::new(),
            notes: Vec::new(),
        };
        let Some(published) = self.published()? else {
            status.level = Level::Due;
            status.notes.push("nothing is published yet".to_owned());
            self.add_waiting(&mut status, now)?;
            return Ok(status);
        };
        let mut roles = vec![RoleName::ROOT, RoleName::TARGETS];
        roles.extend(published.delegated.keys().cloned());
        roles.extend([RoleName::SNAPSHOT, RoleName::TIMESTAMP]);
        for role in roles {
            let Some(held) = published.of(&role) else {
                status.level = Level::Broken;
                status.notes.push(format!(
                    "{role} is not acceptable under the newest root: refresh signs it again"
                ));
                continue;
            };
            let signed_by = match (&role, &published.targets) {
                (RoleName::Delegated(_), Some(targets)) => &targets.document,
                _ => &published.root.document,
            };
            let (expires, version) = (held.document.expires(), held.document.version());
            let period = self.policy().period(&role);
            let due = expires.checked_sub(period.renew).unwrap_or(Time::MIN);
            // The daemon renews online roles as they become due; that they are a day late is worth a word.
            let late = if role.is_offline() {
                due
            } else {
                due.checked_add(jiff::SignedDuration::from_hours(24))
                    .unwrap_or(due)
            };
            let alarm = expires
                .checked_sub(jiff::SignedDuration::from_hours(24))
                .unwrap_or(Time::MIN);
            let level = match () {
                () if alarm <= now => Level::Broken,
                () if late <= now => Level::Due,
                () => Level::Ok,
            };
            status.level = status.level.max(level);
            if level != Level::Ok {
                status.notes.push(remedy(&role, version, expires, now));
            }
            status.roles.push(RoleStatus {
                role: role.to_string(),
                version: version.get(),
                expires,
                due,
                level,
                threshold: signed_by.threshold(&role).unwrap_or(0),
                keys: signed_by.key_ids(&role).map_or(0, |ids| ids.len()),
            });
        }
        for start in &published.roots {
            let seen = walk(&|name| self.published_file(name), *start, now);
            if seen.is_err() {
                status.level = Level::Broken;
            }
            status.clients.push(ClientView {
                start: start.get(),
                root: seen.as_ref().ok().map(|seen| seen.root.get()),
                error: seen.err().map(|error| error.to_string()),
            });
        }
        let contents = (
            self.published_content(TRUSTED_ROOT)?,
            self.published_content(SIGNING_CONFIG)?,
        );
        if let Some((root, config)) = trusted::parse(contents) {
            let open = review::to_be_closed(&root, &config, now);
            if !open.is_empty() {
                status.level = status.level.max(Level::Due);
            }
            status.notes.extend(open);
        }
        self.add_waiting(&mut status, now)?;
        Ok(status)
    }

    fn add_waiting(&self, status: &mut Status, now: Time) -> Result<(), RepositoryError> {
        let names = self.key_names()?;
        let shown = |id: &tuf::KeyId| match names.get(id.as_str()) {
            Some(name) => match self.policy().owners.get(name) {
                Some(owner) => format!("{name} ({owner})"),
                None => name.clone(),
            },
            None => id.to_string(),
        };
        for staged in self.staged_each(now)? {
            status.level = status.level.max(Level::Due);
            let staged = match staged {
                Ok(staged) => staged,
                Err(error) => {
                    status.notes.push(chain(&error));
                    continue;
                }
            };
            let signatures = |progress: Progress| Signatures {
                by: progress.by,
                have: progress.have,
                threshold: progress.threshold,
                missing: progress.missing.iter().map(shown).collect(),
            };
            status.waiting.push(Waiting {
                role: staged.role.to_string(),
                version: staged.ceremony.document().version().get(),
                complete: staged.ceremony.is_complete(),
                signatures: staged
                    .ceremony
                    .progress()
                    .into_iter()
                    .map(signatures)
                    .collect(),
            });
        }
        Ok(())
    }
}

impl Status {
    /// The figures for Prometheus, as text.
    pub fn to_prometheus(&self, now: Time) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        // A String takes everything.
        let mut line = |name: &str, labels: &str, value: String| {
            let _written = writeln!(text, "{name}{labels} {value}");
        };
        line("tuf_status", "", self.level.exit_code().to_string());
        for role in &self.roles {
            let labels = format!("{{role=\"{}\"}}", role.role);
            line("tuf_role_version", &labels, role.version.to_string());
            line(
                "tuf_role_expires_timestamp_seconds",
                &labels,
                role.expires.as_second().to_string(),
            );
            line(
                "tuf_role_due_timestamp_seconds",
                &labels,
                role.due.as_second().to_string(),
            );
        }
        line(
            "tuf_waiting_for_signatures",
            "",
            self.waiting
                .iter()
                .filter(|one| !one.complete)
                .count()
                .to_string(),
        );
        line(
            "tuf_clients_failing",
            "",
            self.clients
                .iter()
                .filter(|one| one.error.is_some())
                .count()
                .to_string(),
        );
        line(
            "tuf_status_timestamp_seconds",
            "",
            now.as_second().to_string(),
        );
        text
    }
}

fn remedy(role: &RoleName, version: Version, expires: Time, now: Time) -> String {
    let state = if expires <= now { "expired" } else { "ends" };
    let how = match role {
        RoleName::Top(Role::Snapshot | Role::Timestamp) => {
            "`cosign-rs root refresh` signs it again with the online key".to_owned()
        }
        _ => format!(
            "`cosign-rs root propose --renew {role}`, then `sign` by its signers, then `publish`"
        ),
    };
    format!("{role} {version} {state} at {expires}: {how}")
}
