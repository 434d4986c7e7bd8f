//! What every [`Disk`] must do; each implementation's tests run it.
//!
//! All writing is done under the lock, as the engine does it: a disk that several machines share may refuse it to others.

use crate::{Disk, Path};

/// Checks a fresh, empty disk.
///
/// # Panics
/// When the disk breaks the contract; this is a test.
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that implementations call: a panic is its report"
)]
pub fn check(disk: &dyn Disk) {
    let path = |text: &str| Path::new(text).unwrap();

    assert_eq!(disk.read(&path("none"), 10).unwrap(), None);
    assert_eq!(disk.list(&path("none")).unwrap(), Vec::<String>::new());
    let Some(held) = disk.lock().unwrap() else {
        panic!("a fresh folder is not locked")
    };
    assert!(disk.lock().unwrap().is_none(), "the lock is exclusive");
    disk.remove(&path("none")).unwrap();

    disk.replace(&path("deep/er/one"), b"first").unwrap();
    assert_eq!(
        disk.read(&path("deep/er/one"), 5).unwrap().unwrap(),
        b"first"
    );
    assert_eq!(
        disk.read(&path("deep/er/one"), 4).unwrap_err().kind(),
        std::io::ErrorKind::FileTooLarge
    );
    disk.replace_durable(&path("deep/er/three"), b"first")
        .unwrap();
    disk.replace_durable(&path("deep/er/three"), b"second")
        .unwrap();
    assert_eq!(
        disk.read(&path("deep/er/three"), 6).unwrap().unwrap(),
        b"second"
    );
    disk.remove(&path("deep/er/three")).unwrap();
    disk.replace(&path("deep/er/one"), b"2").unwrap();
    assert_eq!(disk.read(&path("deep/er/one"), 5).unwrap().unwrap(), b"2");
    disk.replace(&path("deep/er/one"), b"0123456789").unwrap();
    let range = |at, len| {
        disk.read_range(&path("deep/er/one"), at, len)
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        (range(2, 3), range(8, 5), range(11, 5)),
        (b"234".to_vec(), b"89".to_vec(), Vec::new())
    );
    assert_eq!(disk.read_range(&path("none"), 0, 1).unwrap(), None);
    assert_eq!(
        disk.read(&path("deep/er"), 5).unwrap(),
        None,
        "a folder is no file"
    );
    disk.replace(&path("deep/er/two"), b"").unwrap();
    disk.sync(&[path("deep/er/one"), path("deep/er/two")])
        .unwrap();
    assert_eq!(disk.list(&path("deep/er")).unwrap(), ["one", "two"]);
    disk.remove(&path("deep/er/one")).unwrap();
    assert_eq!(disk.list(&path("deep/er")).unwrap(), ["two"]);
    assert!(
        disk.sync(&[path("deep/er/one")]).is_err(),
        "what is not there cannot be made durable"
    );

    let mut file = disk.append(&path("wal/0")).unwrap();
    assert!(file.is_empty().unwrap());
    file.append(b"abc").unwrap();
    file.append(b"def").unwrap();
    assert_eq!(disk.read(&path("wal/0"), 6).unwrap().unwrap(), b"abcdef");
    file.overwrite(2, b"XY").unwrap();
    assert!(file.overwrite(5, b"ZZ").is_err(), "outside the file");
    file.truncate(5).unwrap();
    file.sync_data().unwrap();
    file.append(b"!").unwrap();
    assert_eq!(file.len().unwrap(), 6);
    drop(file);
    disk.sync(&[path("wal/0")]).unwrap();
    let mut file = disk.append(&path("wal/0")).unwrap();
    file.append(b"?").unwrap();
    assert_eq!(disk.read(&path("wal/0"), 10).unwrap().unwrap(), b"abXYe!?");
    drop(file);

    drop(held);
    assert!(disk.lock().unwrap().is_some(), "and ends with its holder");
}
