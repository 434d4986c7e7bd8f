//! The bucket: objects that are put once, read and listed.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, ClientOptions, Error as StoreError, GetOptions, ObjectStore,
    ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use url::{Host, Url};

use crate::database::secret;
use crate::error::ClusterError;
use crate::settings::{BucketSettings, Credentials};

/// Between two attempts; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Until a connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest object that is compared with another one: above any bundle.
const LONGEST: u64 = 64 << 20;
/// An object that stays, by which a store shows that it keeps to the condition.
const CHECKED: &str = "write-once";
/// A path names the same bytes for ever.
const CACHED: &str = "public, max-age=31536000, immutable";
/// What AWS's own programs take an account from.
const VARIABLES: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// A bucket, and the beginning of the keys that are ours.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    store: AmazonS3,
    /// Of the endpoint, or the region.
    place: String,
    name: String,
    prefix: String,
    attempts: u32,
}

impl Bucket {
    /// Prepares calls; nothing is asked yet.
    pub(crate) fn new(settings: &BucketSettings) -> Result<Self, ClusterError> {
        let prefix = settings.prefix.trim_matches('/').to_owned();
        if !prefix.is_empty() && store::Path::new(prefix.clone()).is_none() {
            return Err(ClusterError::Settings(format!(
                "the bucket's prefix {prefix:?} has other characters than letters, digits, '.', '-', '_' and '/' between names"
            )));
        }
        let endpoint = settings
            .endpoint
            .as_deref()
            .map(|endpoint| parse_endpoint(endpoint, settings))
            .transpose()?;
        let local = endpoint.as_ref().is_some_and(is_local);
        let plain = endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.scheme() == "http");
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.name)
            .with_region(&settings.region)
            .with_virtual_hosted_style_request(settings.virtual_host)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // We try again ourselves: what a put is about may be tried more often than its author assumes of a put.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .with_allow_http(plain)
            .with_http_connector(Connector::new(settings, local)?);
        let place = endpoint.as_ref().map_or(&*settings.region, Url::as_str);
        let place = place.to_owned();
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        for (key, value) in account(&settings.credentials)? {
            builder = builder.with_config(key, value);
        }
        let store = builder
            .build()
            .map_err(|error| failed("prepare", "requests", error))?;
        Ok(Self {
            store,
            place,
            name: settings.name.clone(),
            prefix,
            attempts: settings.attempts.max(1),
        })
    }

    /// Which one it is, and where.
    pub(crate) fn describe(&self) -> String {
        format!("{} {} {}\n", self.place, self.name, self.prefix)
    }

    /// Whether it is there and lets us in.
    pub(crate) async fn check(&self) -> Result<(), ClusterError> {
        let key = self.key("", CHECKED)?;
        // Of one object a store says "not found" also when the whole bucket is not there.
        let list = || {
            async {
                match self.store.list(Some(&key)).next().await {
                    Some(Err(error)) => Err(error),
                    _ => Ok(()),
                }
            }
            .boxed()
        };
        self.again("list", &key, list).await
    }

    /// Whether it refuses to put an object where one is. Some stores do not know the condition, and overwrite: they are no place
    /// for what must never change.
    pub(crate) async fn check_write_once(&self) -> Result<(), ClusterError> {
        let key = self.key("", CHECKED)?;
        // The first may find the object of an earlier look.
        for _ in 0..2 {
            let put = || {
                async {
                    let payload = PutPayload::from_static(b"write once\n");
                    match self
                        .store
                        .put_opts(&key, payload, PutMode::Create.into())
                        .await
                    {
                        Ok(_) => Ok(false),
                        Err(StoreError::AlreadyExists { .. }) => Ok(true),
                        Err(error) => Err(error),
                    }
                }
                .boxed()
            };
            if self.again("take", &key, put).await? {
                return Ok(());
            }
        }
        Err(ClusterError::Unfit(format!(
            "the bucket overwrote {key} though it was put with If-None-Match: *; use a store that supports conditional writes"
        )))
    }

    /// Puts an object where none is. The same bytes being there already is as good; other bytes are an error.
    ///
    /// If we crash before the store has taken it all, there is no object. If the answer is lost, the next attempt finds our own bytes.
    pub(crate) async fn put_new(
        &self,
        tree: &str,
        path: &str,
        bytes: &bytes::Bytes,
    ) -> Result<(), ClusterError> {
        let key = self.key(tree, path)?;
        let put = || {
            async {
                let mut attributes = Attributes::new();
                attributes.insert(Attribute::CacheControl, CACHED.into());
                attributes.insert(Attribute::ContentType, "application/octet-stream".into());
                let options = PutOptions {
                    mode: PutMode::Create,
                    attributes,
                    ..PutOptions::default()
                };
                let payload = PutPayload::from_bytes(bytes.clone());
                match self.store.put_opts(&key, payload, options).await {
                    Ok(_) => Ok(true),
                    Err(StoreError::AlreadyExists { source, .. }) => {
                        // Also what a put at the same moment is answered with (409), which may yet fail: then there is nothing.
                        match self.fetch(&key, LONGEST).await? {
                            Some(there) => Ok(there.as_deref() == Some(&**bytes)),
                            None => Err(StoreError::Generic {
                                store: "S3",
                                source,
                            }),
                        }
                    }
                    Err(error) => Err(error),
                }
            }
            .boxed()
        };
        if self.again("take", &key, put).await? {
            return Ok(());
        }
        Err(ClusterError::Forked {
            key: key.to_string(),
        })
    }

    /// The bytes of an object; `None` when there is none.
    pub(crate) async fn read(
        &self,
        tree: &str,
        path: &str,
        max: u64,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        let key = self.key(tree, path)?;
        match self
            .again("send", &key, || self.fetch(&key, max).boxed())
            .await?
        {
            None => Ok(None),
            Some(Some(bytes)) => Ok(Some(bytes)),
            Some(None) => Err(ClusterError::TooLarge {
                key: key.to_string(),
                max,
            }),
        }
    }

    /// Whether there is an object.
    pub(crate) async fn has(&self, tree: &str, path: &str) -> Result<bool, ClusterError> {
        let key = self.key(tree, path)?;
        self.again("answer about", &key, || {
            async {
                match self.store.head(&key).await {
                    Ok(_) => Ok(true),
                    Err(StoreError::NotFound { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            .boxed()
        })
        .await
    }

    /// Names in a folder.
    pub(crate) async fn list(&self, tree: &str, folder: &str) -> Result<Vec<String>, ClusterError> {
        let key = self.key(tree, folder)?;
        let list = || self.store.list_with_delimiter(Some(&key)).boxed();
        let listed = self.again("list", &key, list).await?;
        let objects = listed.objects.iter().map(|object| &object.location);
        let names = objects.chain(&listed.common_prefixes);
        Ok(names
            .filter_map(|key| key.filename().map(str::to_owned))
            .collect())
    }

    fn key(&self, tree: &str, path: &str) -> Result<Key, ClusterError> {
        let names = [self.prefix.as_str(), tree, path];
        let text = names
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        Key::parse(&text).map_err(|error| failed("name", &text, error.into()))
    }

    /// `None`: nothing there; `Some(None)`: longer than `max`.
    async fn fetch(&self, key: &Key, max: u64) -> Result<Option<Option<Vec<u8>>>, StoreError> {
        let answer = match self.store.get_opts(key, GetOptions::default()).await {
            Ok(answer) => answer,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if answer.meta.size > max {
            return Ok(Some(None));
        }
        let mut bytes = Vec::new();
        let mut stream = answer.into_stream();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
                return Ok(Some(None));
            }
        }
        Ok(Some(Some(bytes)))
    }

    /// Everything here may be done twice, so whatever may pass is tried again, with growing pauses.
    async fn again<'q, T>(
        &self,
        action: &'static str,
        key: &Key,
        ask: impl Fn() -> BoxFuture<'q, Result<T, StoreError>>,
    ) -> Result<T, ClusterError> {
        let mut pause = PAUSE;
        for attempt in 1..self.attempts {
            match ask().await {
                // 5xx, 429, a broken connection, no answer in time. The others say what is wrong with the request.
                Err(error @ StoreError::Generic { .. }) => {
                    tracing::debug!(%key, attempt, %error, "asking the bucket again");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
                other => return other.map_err(|error| failed(action, key.as_ref(), error)),
            }
        }
        ask()
            .await
            .map_err(|error| failed(action, key.as_ref(), error))
    }
}

fn failed(action: &'static str, key: &str, error: StoreError) -> ClusterError {
    ClusterError::Bucket {
        action,
        key: key.to_owned(),
        source: Box::new(error),
    }
}

fn parse_endpoint(endpoint: &str, settings: &BucketSettings) -> Result<Url, ClusterError> {
    let wrong = |what: &str| ClusterError::Settings(format!("the bucket's endpoint {what}"));
    let mut url = Url::parse(endpoint).map_err(|_| wrong("is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "has an account in it: put that into a file or the environment",
        ));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_local(&url) || settings.plain => {}
        _ => return Err(wrong("is not https")),
    }
    if settings.virtual_host {
        let host = url.host_str().unwrap_or_default();
        let host = format!("{}.{host}", settings.name);
        url.set_host(Some(&host))
            .map_err(|_| wrong("cannot have the bucket's name in its host"))?;
    }
    Ok(url)
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Names and values that the store's client takes an account from.
fn account(credentials: &Credentials) -> Result<Vec<(AmazonS3ConfigKey, String)>, ClusterError> {
    let known = |name: &str, value: String| {
        let key = name.to_ascii_lowercase().parse().ok()?;
        Some((key, value))
    };
    match credentials {
        Credentials::Environment => Ok(VARIABLES
            .iter()
            .filter_map(|name| {
                known(
                    name,
                    std::env::var(name).ok().filter(|value| !value.is_empty())?,
                )
            })
            .collect()),
        Credentials::File(path) => {
            let text = secret(path)?;
            parse_account(&text).ok_or_else(|| {
                ClusterError::Settings(format!(
                    "{} is no account of one profile: it has the lines aws_access_key_id = .., aws_secret_access_key = .. and perhaps \
                     aws_session_token = ..",
                    path.display()
                ))
            })
        }
    }
}

fn parse_account(text: &str) -> Option<Vec<(AmazonS3ConfigKey, String)>> {
    let (mut id, mut secret, mut token, mut profiles) = (None, None, None, 0);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            profiles += 1;
            continue;
        }
        let (name, value) = line.split_once('=')?;
        let place = match name.trim() {
            "aws_access_key_id" => &mut id,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut token,
            _ => return None,
        };
        if place.replace(value.trim().to_owned()).is_some() {
            return None;
        }
    }
    if profiles > 1 {
        return None;
    }
    let mut account = vec![
        (AmazonS3ConfigKey::AccessKeyId, id?),
        (AmazonS3ConfigKey::SecretAccessKey, secret?),
    ];
    account.extend(token.map(|token| (AmazonS3ConfigKey::Token, token)));
    Some(account)
}

/// Makes the connections: one client, without redirects (a signature is for one host), past the proxies for this machine.
#[derive(Debug)]
struct Connector {
    client: reqwest::Client,
}

impl Connector {
    fn new(settings: &BucketSettings, local: bool) -> Result<Self, ClusterError> {
        let wrong = |error: reqwest::Error| {
            ClusterError::Settings(format!("the bucket's client cannot be made: {error}"))
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT.min(settings.timeout))
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .gzip(false)
            .pool_max_idle_per_host(32);
        if local {
            builder = builder.no_proxy();
        }
        if let Some(path) = &settings.extra_roots {
            let pem = std::fs::read(path).map_err(|source| ClusterError::File {
                path: path.display().to_string(),
                source,
            })?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(wrong)?;
            builder = builder.tls_certs_merge(roots);
        }
        let client = builder.build().map_err(wrong)?;
        Ok(Self { client })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> Result<HttpClient, StoreError> {
        Ok(HttpClient::new(self.client.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn settings() -> BucketSettings {
        Settings::new("postgres://localhost/l", "logs", "eu-west-1").bucket
    }

    #[test]
    fn a_bucket_is_in_the_path_or_in_the_host() {
        let mut settings = settings();
        let endpoint = |settings: &BucketSettings, text| {
            parse_endpoint(text, settings).map(|url| url.to_string())
        };
        assert_eq!(
            endpoint(&settings, "https://s3.example:444").unwrap(),
            "https://s3.example:444/"
        );
        settings.virtual_host = true;
        assert_eq!(
            endpoint(&settings, "https://s3.example:444").unwrap(),
            "https://logs.s3.example:444/"
        );
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        let mut settings = settings();
        assert!(parse_endpoint("http://127.0.0.1:9000", &settings).is_ok());
        assert!(parse_endpoint("http://s3.example", &settings).is_err());
        settings.plain = true;
        assert!(parse_endpoint("http://s3.example", &settings).is_ok());
        let told = parse_endpoint("https://id:hunter2@s3.example", &settings).unwrap_err();
        assert!(!told.to_string().contains("hunter2"));
    }

    #[test]
    fn an_account_is_read_from_a_file() {
        let account =
            parse_account("# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n")
                .unwrap();
        assert_eq!(
            account,
            [
                (AmazonS3ConfigKey::AccessKeyId, "A".to_owned()),
                (AmazonS3ConfigKey::SecretAccessKey, "B=".to_owned())
            ]
        );
        for wrong in [
            "",
            "aws_access_key_id = A",
            "aws_access_key_id = A\naws_secret_access_key = B\nregion = x",
            "aws_access_key_id = A\naws_access_key_id = A\naws_secret_access_key = B",
            "[a]\naws_access_key_id = A\n[b]\naws_secret_access_key = B",
        ] {
            assert!(parse_account(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn keys_have_prefix_and_tree() {
        let settings = BucketSettings {
            prefix: "/prod/logs/".to_owned(),
            credentials: Credentials::Environment,
            ..settings()
        };
        let bucket = Bucket::new(&settings).unwrap();
        let key = bucket.key("rekor.example", "tile/0/x001/234").unwrap();
        assert_eq!(key.as_ref(), "prod/logs/rekor.example/tile/0/x001/234");
        let wrong = BucketSettings {
            prefix: "a//b".to_owned(),
            ..settings
        };
        assert!(Bucket::new(&wrong).is_err());
    }

    #[test]
    fn every_variable_is_one_that_the_client_knows() {
        for name in VARIABLES {
            assert!(
                name.to_ascii_lowercase()
                    .parse::<AmazonS3ConfigKey>()
                    .is_ok(),
                "{name}"
            );
        }
    }

    const OK: &str = "200 OK\r\netag: \"1\"\r\nlast-modified: Mon, 02 Nov 2026 03:04:05 GMT\r\n";
    const SLOW_DOWN: &str = "503 Slow Down\r\n";
    const THERE: &str = "412 Precondition Failed\r\n";
    /// The request was taken, and its answer is lost.
    const LOST: &str = "";

    /// A store that gives these answers, status and headers and then a body, one for each request; and what it was asked.
    async fn scripted(
        answers: &'static [(&'static str, &'static str)],
    ) -> (
        Bucket,
        tokio::task::JoinHandle<Vec<String>>,
        tempfile::TempDir,
    ) {
        use std::os::unix::fs::PermissionsExt as _;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let account = folder.path().join("account");
        std::fs::write(
            &account,
            "aws_access_key_id = A\naws_secret_access_key = hunter2\n",
        )
        .unwrap();
        std::fs::set_permissions(&account, std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = BucketSettings {
            endpoint: Some(format!("http://{address}")),
            credentials: Credentials::File(account),
            ..settings()
        };
        let serve = async move {
            let mut asked = Vec::new();
            for (head, body) in answers {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                // All bodies here are one word that ends so.
                while !(request.ends_with(b"\r\n\r\n") && request.starts_with(b"GET")
                    || request.ends_with(b"once\n"))
                {
                    let mut bytes = [0; 4096];
                    let count = client.read(&mut bytes).await.unwrap();
                    assert!(count > 0, "{}", String::from_utf8_lossy(&request));
                    request.extend_from_slice(&bytes[..count]);
                }
                asked.push(String::from_utf8(request).unwrap());
                if !head.is_empty() {
                    let answer = format!(
                        "HTTP/1.1 {head}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    client.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            asked
        };
        (Bucket::new(&settings).unwrap(), tokio::spawn(serve), folder)
    }

    async fn put(bucket: &Bucket) -> Result<(), ClusterError> {
        bucket.put_new("tree", "tile/0/000", &"once\n".into()).await
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        let answers = &[
            (SLOW_DOWN, ""),
            (LOST, ""),
            ("429 Too Many Requests\r\n", ""),
            (OK, ""),
        ];
        let (bucket, server, _folder) = scripted(answers).await;
        put(&bucket).await.unwrap();
        for request in server.await.unwrap() {
            assert!(
                request.starts_with("PUT /logs/tree/tile/0/000 HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(request.contains("\r\nif-none-match: *\r\n"), "{request}");
            assert!(
                request.contains("AWS4-HMAC-SHA256 Credential=A/") && !request.contains("hunter2")
            );
        }
        let (bucket, server, _folder) = scripted(&[(SLOW_DOWN, ""); 4]).await;
        let told = put(&bucket).await.unwrap_err().to_string();
        assert!(told.contains("tree/tile/0/000"), "{told}");
        assert_eq!(server.await.unwrap().len(), 4);
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_request_is_told_at_once() {
        let (bucket, server, _folder) = scripted(&[("403 Forbidden\r\n", "")]).await;
        let told = put(&bucket).await.unwrap_err();
        assert!(matches!(told, ClusterError::Bucket { .. }), "{told}");
        assert_eq!(server.await.unwrap().len(), 1);
        assert!(
            !format!("{bucket:?} {told:?}").contains("hunter2"),
            "{bucket:?}"
        );
    }

    #[tokio::test]
    async fn the_same_bytes_are_as_good_as_a_put() {
        let (bucket, server, _folder) = scripted(&[(LOST, ""), (THERE, ""), (OK, "once\n")]).await;
        put(&bucket).await.unwrap();
        server.await.unwrap();
        // Somebody else's put was under way, and came to nothing.
        let (bucket, server, _folder) = scripted(&[
            ("409 Conflict\r\n", ""),
            ("404 Not Found\r\n", ""),
            (OK, ""),
        ])
        .await;
        put(&bucket).await.unwrap();
        server.await.unwrap();
        let (bucket, server, _folder) = scripted(&[(THERE, ""), (OK, "other")]).await;
        let told = put(&bucket).await.unwrap_err();
        assert!(
            matches!(&told, ClusterError::Forked { key } if key == "tree/tile/0/000"),
            "{told}"
        );
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_overwrites_is_refused() {
        let (bucket, server, _folder) = scripted(&[(OK, ""), (OK, "")]).await;
        let told = bucket.check_write_once().await.unwrap_err();
        assert!(matches!(told, ClusterError::Unfit(_)), "{told}");
        server.await.unwrap();
        let (bucket, server, _folder) = scripted(&[(OK, ""), (THERE, "")]).await;
        bucket.check_write_once().await.unwrap();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_has_an_end() {
        let (bucket, server, _folder) = scripted(&[
            (OK, "0123456789"),
            (OK, "0123456789"),
            ("404 Not Found\r\n", ""),
        ])
        .await;
        assert_eq!(
            bucket.read("t", "tile/a", 10).await.unwrap().unwrap(),
            b"0123456789"
        );
        assert!(matches!(
            bucket.read("t", "tile/a", 9).await,
            Err(ClusterError::TooLarge { max: 9, .. })
        ));
        assert_eq!(bucket.read("t", "tile/a", 9).await.unwrap(), None);
        server.await.unwrap();
    }
}
