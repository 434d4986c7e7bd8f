//! Key files: read only where nobody else can but a group, written so that a crash leaves the old state or the whole new file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::SignerError;

/// RSA-4096 in PEM has 3.3 kB.
pub(crate) const MAX_FILE: u64 = 64 * 1024;

pub(crate) fn error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SignerError {
    let path = path.display().to_string();
    move |source| SignerError::File {
        path,
        action,
        source,
    }
}

pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, SignerError> {
    let file = File::open(path).map_err(error(path, "cannot open it"))?;
    // The mode of the file that is open, not of whatever the path names a moment later.
    let mode = file
        .metadata()
        .map_err(error(path, "cannot look at it"))?
        .permissions()
        .mode()
        & 0o7777;
    // A group may read: that is how a secret is mounted for a service that is not root.
    if mode & 0o037 != 0 {
        return Err(SignerError::Exposed {
            path: path.display().to_string(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(error(path, "cannot read it"))?;
    Ok(text)
}

/// A password, a PIN or a token: the file's text without the line break that editors put at its end.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, SignerError> {
    let mut text = read(path)?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(text)
}

pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), SignerError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = folder.join(name);
    // A crash before the link leaves only this temporary file, which the next start replaces.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(error(&temporary, "cannot create it"))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(error(&temporary, "cannot write it"))?;
    // Unlike rename, link never replaces a key that is already there.
    fs::hard_link(&temporary, path).map_err(error(path, "cannot create it"))?;
    fs::remove_file(&temporary).map_err(error(&temporary, "cannot remove it"))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(error(folder, "cannot make it durable"))
}
