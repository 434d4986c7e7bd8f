//! What a start writes into the state folder besides keys: addresses, trust files, and the settings of each service.

use std::fmt::Write as _;

use anyhow::Result;

use pki::cert::Certificate;

use crate::material::Material;
use crate::state::{Addresses, Name, State};
use crate::trust_files::{REKOR_ORIGIN, TrustFiles};

/// Writes everything. `host` is what the services listen on; the registry has the referrers API if `referrers`.
pub fn write(
    state: &State,
    material: &Material,
    addresses: &Addresses,
    host: &str,
    referrers: bool,
) -> Result<TrustFiles> {
    let files = TrustFiles::describe(material, addresses)?;
    state.write_if_changed("trusted_root.json", &files.trusted_root)?;
    state.write_if_changed("signing_config.json", &files.signing_config)?;
    state.write_if_changed("client_trust_config.json", &files.client_trust_config)?;
    let v1 = &files.rekor_v1;
    state.write_if_changed("signing_config_rekor_v1.json", &v1.signing_config)?;
    state.write_if_changed("client_trust_config_rekor_v1.json", &v1.client_trust_config)?;
    let ctlog_name = ctlog_name(state, addresses)?;
    for name in Name::ALL {
        let text = settings(name, material, addresses, &ctlog_name, host, referrers);
        state.write_if_changed(&name.settings_file(), text.as_bytes())?;
    }
    // The two halves that certificate authority and CT log have to know of each other.
    let roots: String = material
        .fulcio_chain
        .last()
        .map(Certificate::to_pem)
        .unwrap_or_default();
    state.write_if_changed("ctlog/roots.pem", roots.as_bytes())?;
    state.write_if_changed(
        "fulcio/ctlog.pub.pem",
        material.ctlog.public_key().to_pem().as_bytes(),
    )?;
    state.write_if_changed("fulcio/issuers.yaml", issuers(addresses).as_bytes())?;
    // Last: whoever reads the addresses finds all the rest in place.
    state.write_if_changed(
        Addresses::FILE,
        format!("{:#}\n", serde_json::to_value(addresses)?).as_bytes(),
    )?;
    Ok(files)
}

/// The URL that a CT log had first is its name in every checkpoint, for life (static-ct-api), also when a later start takes other ports.
fn ctlog_name(state: &State, addresses: &Addresses) -> Result<String> {
    const FILE: &str = "ctlog/name";
    if let Some(name) = state.read(FILE)? {
        return Ok(String::from_utf8(name)
            .map_err(|error| state.damaged(FILE, error))?
            .trim()
            .to_owned());
    }
    state.write(FILE, format!("{}\n", addresses.ctlog).as_bytes())?;
    Ok(addresses.ctlog.clone())
}

/// The settings file of one service. Paths are seen from the file's folder, so the folder can be moved as a whole.
fn settings(
    name: Name,
    material: &Material,
    addresses: &Addresses,
    ctlog_name: &str,
    host: &str,
    referrers: bool,
) -> String {
    let port = addresses.port(name).unwrap_or_default();
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let own = match name {
        Name::Issuer => format!(
            "[issuer]\nurl = \"{}\"\nkey = \"key.pem\"\nclients = [\"sigstore\"]\n",
            addresses.issuer
        ),
        Name::Registry => format!("[registry]\nfolder = \"data\"\nreferrers = {referrers}\n"),
        Name::Tuf => "[tuf]\nfolder = \".\"\n".to_owned(),
        Name::Rekor => format!(
            "[log]\norigin = \"{REKOR_ORIGIN}\"\nkey = \"key.pem\"\nfolder = \"log\"\ncheckpoint_copy = \"last.checkpoint\"\n\n\
             [v1]\nhost = \"{REKOR_ORIGIN}\"\nattestations = \"attestations\"\n\n\
             [[v1.shards]]\ntree_id = {}\nkey = \"v1.pem\"\nfolder = \"v1\"\ncheckpoint_copy = \"v1.checkpoint\"\n\n\
             [search]\nfile = \"search.sqlite\"\n",
            material.rekor_v1_tree()
        ),
        Name::Tsa => "[tsa]\nkey = \"key.pem\"\nchain = \"chain.pem\"\n".to_owned(),
        Name::Fulcio => format!(
            "[ca]\nkey = \"key.pem\"\nchain = \"chain.pem\"\nissuers = \"issuers.yaml\"\n\n[ct_log]\nurl = \"{}\"\npublic_key = \"ctlog.pub.pem\"\n",
            addresses.ctlog
        ),
        Name::Ctlog => format!(
            "[log]\nurl = \"{ctlog_name}\"\nkey = \"key.pem\"\nroots = \"roots.pem\"\nfolder = \"log\"\ncheckpoint_copy = \"last.checkpoint\"\n"
        ),
    };
    format!("# Written by sigstack at its start.\n[server]\nlisten = \"{host}:{port}\"\n\n{own}")
}

/// The issuers that the certificate authority believes, in upstream Fulcio's form.
fn issuers(addresses: &Addresses) -> String {
    let mut text = "# Written by sigstack at its start.\noidc-issuers:\n".to_owned();
    for (url, kind) in [
        (addresses.issuer.clone(), "email"),
        (format!("{}/github", addresses.issuer), "github-workflow"),
    ] {
        // A String takes everything.
        let _written = write!(
            text,
            "  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: {kind}\n"
        );
    }
    text
}
