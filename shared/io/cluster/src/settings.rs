//! Settings: places, names and times. Secrets come from files or the environment, and are never in here.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of one cluster. Any number of trees share it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where what is ordered is kept.
    pub database: DatabaseSettings,
    /// Where what never changes is kept.
    pub bucket: BucketSettings,
    /// How long a turn lasts.
    pub lease: LeaseSettings,
    /// Where other instances reach this one while it leads, as they will be told; not interpreted here.
    pub address: String,
    /// Who this is, for people who look at the table: a host's or a pod's name.
    pub holder: String,
}

/// The PostgreSQL server.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// `postgres://user@host:port/database?sslmode=verify-full&sslrootcert=FILE`, without a password. For another machine `sslmode` is
    /// `verify-full` unless the text says otherwise, and weaker modes than `verify-ca` are refused. Without `sslrootcert`, the authorities of
    /// the public web are believed. The server itself and no pooler in between: limits and announcements belong to a session.
    pub url: String,
    /// File with the password. Without it, `PGPASSWORD` or the file that `PGPASSFILE` names.
    pub password_file: Option<PathBuf>,
    /// Speak to another machine without TLS that verifies it.
    pub plain: bool,
    /// Connections for questions. Besides, there are at most four for commits and two for leases.
    pub readers: u32,
    /// Longest statement; longest wait for a free connection, too.
    pub timeout: Duration,
    /// Take a server that runs with `fsync = off` and loses commits when it crashes. For tests.
    pub may_lose_commits: bool,
}

/// The bucket of an S3-compatible store that knows `If-None-Match: *` on PUT (AWS, R2, Ceph, MinIO, versitygw and others do). The
/// account needs to put, get and list, and not to delete.
#[derive(Clone, Debug)]
pub struct BucketSettings {
    /// Its name.
    pub name: String,
    /// Begins every key; names joined by `/`, or empty.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// `https://host[:port]`; without it, AWS in `region`.
    pub endpoint: Option<String>,
    /// The bucket's name in the host (`https://BUCKET.host/key`) and not in the path (`https://host/BUCKET/key`).
    pub virtual_host: bool,
    /// Where the account is from.
    pub credentials: Credentials,
    /// Certificate authorities besides the system's, PEM.
    pub extra_roots: Option<PathBuf>,
    /// Speak to another machine without TLS.
    pub plain: bool,
    /// Longest single request.
    pub timeout: Duration,
    /// How often a request is tried before the tile waits in the database. Pauses double, from a tenth of a second.
    pub attempts: u32,
}

/// Where the account of the bucket comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The variables that AWS's own programs read: `AWS_ACCESS_KEY_ID` and its companions, a web identity or a container's
    /// credentials; without any of them, the machine's own (instance metadata).
    Environment,
    /// A file of this process's user alone, of the form that AWS's own programs write: `aws_access_key_id = ..`,
    /// `aws_secret_access_key = ..` and perhaps `aws_session_token = ..`, under one `[profile]` or none.
    File(PathBuf),
}

/// How long a turn lasts.
#[derive(Clone, Copy, Debug)]
pub struct LeaseSettings {
    /// A leader that has not renewed its lease for so long may be replaced.
    pub lasts: Duration,
    /// How often it renews.
    pub renewed: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(5),
            renewed: Duration::from_secs(1),
        }
    }
}

impl Settings {
    /// The defaults for these places: `database` as in [`DatabaseSettings::url`], the bucket's name and its region.
    pub fn new(
        database: impl Into<String>,
        bucket: impl Into<String>,
        region: impl Into<String>,
    ) -> Self {
        Self {
            database: DatabaseSettings {
                url: database.into(),
                password_file: None,
                plain: false,
                readers: 8,
                timeout: Duration::from_secs(10),
                may_lose_commits: false,
            },
            bucket: BucketSettings {
                name: bucket.into(),
                prefix: String::new(),
                region: region.into(),
                endpoint: None,
                virtual_host: false,
                credentials: Credentials::Environment,
                extra_roots: None,
                plain: false,
                timeout: Duration::from_secs(10),
                attempts: 4,
            },
            lease: LeaseSettings::default(),
            address: String::new(),
            holder: String::new(),
        }
    }
}
