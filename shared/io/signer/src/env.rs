//! Keys and addresses from the environment.
//!
//! A process cannot take a variable out of its own environment without `unsafe`: what stands there is seen by its children (the services
//! start none but the plug-in of a key that has one) and, through `/proc/PID/environ`, by the same user and root. A file is the better place; `env://` is for platforms that hand
//! out secrets in no other way.

use zeroize::Zeroizing;

use crate::SignerError;
use crate::file::MAX_FILE;

/// Where variables are looked up: the process's own environment, or in tests a table.
pub type Environment<'a> = &'a (dyn Fn(&str) -> Option<String> + Send + Sync);

/// The environment of this process. A variable that is empty or not UTF-8 counts as not set.
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The text of a key that is in a variable.
pub(crate) fn read(
    name: &str,
    environment: Environment<'_>,
) -> Result<Zeroizing<String>, SignerError> {
    let wrong = |why| SignerError::Variable {
        name: name.to_owned(),
        why,
    };
    let text = environment(name)
        .map(Zeroizing::new)
        .ok_or_else(|| wrong("is not set"))?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= MAX_FILE) {
        Ok(text)
    } else {
        Err(wrong("has more than 65536 bytes: this is no key"))
    }
}
