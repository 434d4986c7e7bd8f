//! The issuer of the Kubernetes cluster that this runs in: its certificate authority and the pod's token are files that the cluster keeps.

use std::path::PathBuf;

use client::{Agent, Settings};
use tokio::io::AsyncReadExt as _;
use url::Url;

use super::keys::KeyError;

/// The largest of these files that is read.
const MAX_FILE: u64 = 256 << 10;

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// The first of them that is there.
    authorities: Vec<PathBuf>,
    token: PathBuf,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            authorities: vec![
                // Where upstream's deployment mounts it, and where Kubernetes does.
                "/var/run/fulcio/ca.crt".into(),
                "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".into(),
            ],
            token: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
        }
    }
}

impl Cluster {
    /// The cluster, if this is its issuer: the name that every cluster has for its own API server.
    pub(super) fn of(issuer: &Url) -> Option<Self> {
        let host = issuer.host_str()?;
        let own = host == "kubernetes.default.svc" || host.starts_with("kubernetes.default.svc.");
        (own && issuer.scheme() == "https").then(Self::default)
    }

    /// Reads the files anew: tokens of pods are replaced every hour, and authorities now and then.
    pub(super) async fn credentials(
        &self,
        settings: &Settings,
    ) -> Result<(Agent, Option<String>), KeyError> {
        let mut settings = settings.clone();
        let mut authorities = self.authorities.iter().peekable();
        while let Some(path) = authorities.next() {
            match read(path).await {
                Ok(pem) => {
                    settings.extra_roots_pem = pem;
                    break;
                }
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && authorities.peek().is_some() => {}
                Err(source) => {
                    let path = path.clone();
                    return Err(KeyError::Cluster { path, source });
                }
            }
        }
        let token = match read(&self.token).await {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
            // A cluster may let everybody read its keys.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => {
                let path = self.token.clone();
                return Err(KeyError::Cluster { path, source });
            }
        };
        Ok((Agent::new(settings), token))
    }
}

async fn read(path: &PathBuf) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_FILE).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::Request;
    use axum::routing::get;
    use jiff::Timestamp;
    use serde_json::json;

    use crate::issuers::keys::KeySource;

    #[test]
    fn only_the_clusters_own_name_gets_its_files() {
        for (issuer, own) in [
            ("https://kubernetes.default.svc", true),
            ("https://kubernetes.default.svc.cluster.local", true),
            ("http://kubernetes.default.svc", false),
            ("https://kubernetes.default.svcx", false),
            ("https://x.kubernetes.default.svc", false),
            ("https://evil.example/kubernetes.default.svc", false),
        ] {
            assert_eq!(
                Cluster::of(&Url::parse(issuer).unwrap()).is_some(),
                own,
                "{issuer}"
            );
        }
    }

    /// An API server that notes the headers it gets.
    async fn server(document: serde_json::Value) -> (String, Arc<Mutex<Vec<Option<String>>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (own, notes) = (url.clone(), seen.clone());
        let answer = move |request: Request| {
            let value = request.headers().get("authorization");
            notes
                .lock()
                .unwrap()
                .push(value.map(|value| value.to_str().unwrap().to_owned()));
            let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
            let mut body = document.clone();
            if request.uri().path() == "/keys" {
                body = json!({"keys": [key]});
            } else if body["issuer"].is_null() {
                body = json!({"issuer": own, "jwks_uri": format!("{own}/keys")});
            }
            async move { axum::Json(body) }
        };
        let router = Router::new().fallback(get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, seen)
    }

    #[tokio::test]
    async fn the_pods_token_goes_to_the_clusters_host_and_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("ca.crt"), certificate.cert.pem()).unwrap();
        let cluster = Cluster {
            authorities: vec![path("none.crt"), path("ca.crt")],
            token: path("token"),
        };
        let settings = Settings {
            attempts: 1,
            ..Settings::default()
        };
        let (url, seen) = server(json!({})).await;
        let source = KeySource::in_cluster(&url, settings.clone(), cluster.clone()).unwrap();
        // Without a token the keys are asked for as by anybody.
        let hours = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        source.current(hours(0)).await.unwrap();
        for (hour, token) in [(2, "first"), (4, "second")] {
            std::fs::write(path("token"), format!("{token}\n")).unwrap();
            source.current(hours(hour)).await.unwrap();
        }
        let bearer = |token: &str| Some(format!("Bearer {token}"));
        let expected = [
            None,
            None,
            bearer("first"),
            bearer("first"),
            bearer("second"),
            bearer("second"),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);

        // Another port is another server, also when the cluster's own document names it.
        let (elsewhere, heard) = server(json!({})).await;
        let (url, seen) = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let own = format!("http://{}", listener.local_addr().unwrap());
            drop(listener);
            let document = json!({"issuer": own, "jwks_uri": format!("{elsewhere}/keys")});
            let listener = tokio::net::TcpListener::bind(own.trim_start_matches("http://"))
                .await
                .unwrap();
            let seen = Arc::new(Mutex::new(0));
            let count = seen.clone();
            let router = Router::new().fallback(get(move || {
                *count.lock().unwrap() += 1;
                async move { axum::Json(document) }
            }));
            tokio::spawn(async move { axum::serve(listener, router).await });
            (own, seen)
        };
        let source = KeySource::in_cluster(&url, settings.clone(), cluster).unwrap();
        source.current(hours(0)).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), 1);
        assert_eq!(*heard.lock().unwrap(), [None]);

        // A cluster whose authority cannot be read is not asked without.
        let nothing = Cluster {
            authorities: vec![path("none.crt")],
            token: path("token"),
        };
        let source = KeySource::in_cluster(&url, settings, nothing).unwrap();
        assert!(matches!(
            source.current(hours(0)).await,
            Err(KeyError::Cluster { .. })
        ));
    }
}
