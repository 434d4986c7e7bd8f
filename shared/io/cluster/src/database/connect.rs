//! How a connection is opened, and with which secret.

use std::path::Path as FilePath;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{Host, Url};

use crate::error::ClusterError;
use crate::settings::{DatabaseSettings, LeaseSettings};

/// What every connection is opened with.
pub(crate) fn options(
    settings: &DatabaseSettings,
    lease: &LeaseSettings,
) -> Result<PgConnectOptions, ClusterError> {
    let wrong = |what: String| ClusterError::Settings(what);
    // The text of a parser's error might repeat the address, and a password in it.
    let url = Url::parse(&settings.url)
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .ok_or_else(|| {
            wrong("the database's URL is not of the form postgres://user@host/database".to_owned())
        })?;
    if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") {
        return Err(wrong(
            "the database's URL has a password in it: put it into a file and name that (password_file)".to_owned(),
        ));
    }
    let mut options = PgConnectOptions::from_str(&settings.url)
        .map_err(|_| wrong("the database's URL has an option that is not known".to_owned()))?;
    let chosen = url
        .query_pairs()
        .any(|(key, _)| matches!(&*key, "sslmode" | "ssl-mode"));
    if !chosen && !is_local(&options) && !settings.plain {
        options = options.ssl_mode(PgSslMode::VerifyFull);
    }
    let verified = matches!(
        options.get_ssl_mode(),
        PgSslMode::VerifyFull | PgSslMode::VerifyCa
    );
    if !verified && !is_local(&options) && !settings.plain {
        return Err(wrong(format!(
            "the database on {} would be spoken to without verified TLS: use sslmode=verify-full (and sslrootcert for an authority of your own) in its URL",
            options.get_host()
        )));
    }
    if let Some(path) = &settings.password_file {
        let password = secret(path)?;
        options = options.password(password.trim_end_matches(['\r', '\n']));
    }
    let limit = |time: Duration| time.as_millis().max(1).to_string();
    Ok(options.application_name("sigstore log").options([
        ("statement_timeout", limit(settings.timeout)),
        ("lock_timeout", limit(settings.timeout)),
        // A commit that has waited for a renewal goes on with what is there then.
        ("default_transaction_isolation", "read committed".to_owned()),
        // A leader that is paused within a transaction holds the lease's row; not longer than its lease would last.
        (
            "idle_in_transaction_session_timeout",
            limit(lease.lasts.max(Duration::from_secs(1))),
        ),
    ]))
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || match Host::parse(host) {
            Ok(Host::Domain(name)) => name == "localhost",
            Ok(Host::Ipv4(address)) => address.is_loopback(),
            Ok(Host::Ipv6(address)) => address.is_loopback(),
            Err(_) => host
                .parse::<std::net::Ipv6Addr>()
                .is_ok_and(|address| address.is_loopback()),
        }
}

/// A file of this user, or of its group: a secret that others can read is none.
pub(crate) fn secret(path: &FilePath) -> Result<String, ClusterError> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    const LONGEST: u64 = 64 << 10;
    let failed = |source| ClusterError::File {
        path: path.display().to_string(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    // A group may: that is how a secret is mounted for a service that is not root.
    if mode & 0o037 != 0 {
        return Err(ClusterError::Settings(format!(
            "{} has mode {:04o}: others may read it, or its group write it; run chmod 600 on it",
            path.display(),
            mode & 0o7777
        )));
    }
    let mut text = String::new();
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::settings::Settings;

    fn opened(url: &str, plain: bool) -> Result<PgConnectOptions, ClusterError> {
        let settings = DatabaseSettings {
            plain,
            ..Settings::new(url, "b", "r").database
        };
        options(&settings, &LeaseSettings::default())
    }

    #[test]
    fn another_machine_is_verified() {
        let mode = |url| opened(url, false).map(|options| options.get_ssl_mode());
        assert!(matches!(
            mode("postgres://u@db.example/l"),
            Ok(PgSslMode::VerifyFull)
        ));
        assert!(matches!(
            mode("postgres://u@db.example/l?sslmode=verify-ca"),
            Ok(PgSslMode::VerifyCa)
        ));
        for weak in ["disable", "allow", "prefer", "require"] {
            let url = format!("postgres://u@db.example/l?sslmode={weak}");
            assert!(opened(&url, false).is_err(), "{weak}");
            assert!(opened(&url, true).is_ok(), "{weak}");
        }
        for local in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(
                opened(&format!("postgres://u@{local}/l"), false).is_ok(),
                "{local}"
            );
        }
    }

    #[test]
    fn a_password_has_no_place_in_the_settings() {
        for url in [
            "postgres://u:hunter2@localhost/l",
            "postgres://u@localhost/l?password=hunter2",
        ] {
            let told = opened(url, false).unwrap_err().to_string();
            assert!(
                told.contains("password_file") && !told.contains("hunter2"),
                "{told}"
            );
        }
        assert!(opened("mysql://localhost/l", false).is_err());
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        let mode =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(secret(&path).unwrap_err().to_string().contains("chmod 600"));
        mode(0o620);
        assert!(secret(&path).is_err());
        for allowed in [0o600, 0o440] {
            mode(allowed);
            assert_eq!(secret(&path).unwrap(), "hunter2\n");
        }
    }
}
