//! Members of a tar archive in memory: ustar, with the long names of pax and GNU. No sparse files.

use crate::PackageError;

/// A header, and the unit in which contents are padded.
const BLOCK: usize = 512;
/// The most members of one archive; a signature or control archive of Alpine has a handful.
const MAX_MEMBERS: u64 = 1024;

const MALFORMED: PackageError = PackageError::Malformed("tar archive");

/// A file of an archive.
pub(crate) struct Member<'a> {
    /// The name, in which nothing is normalised.
    pub(crate) name: Vec<u8>,
    /// The contents; empty for directories, links and devices.
    pub(crate) contents: &'a [u8],
}

/// All files of an archive in order. The two empty blocks at the end may be missing, as they are in all but the last part of an Alpine package.
pub(crate) fn members(archive: &[u8]) -> Result<Vec<Member<'_>>, PackageError> {
    let mut members = Vec::new();
    let mut rest = archive;
    let mut headers: u64 = 0;
    let mut pax = Extended::default();
    let mut long_name: Option<Vec<u8>> = None;
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(BLOCK).ok_or(MALFORMED)?;
        if is_zero(header) {
            // One block of zeros ends an archive as two do; anything else behind the first is refused.
            let second = after.get(..BLOCK).unwrap_or(after);
            let whole = second.is_empty() || second.len() == BLOCK;
            return if whole && is_zero(second) {
                Ok(members)
            } else {
                Err(MALFORMED)
            };
        }
        headers = headers.saturating_add(1);
        if headers > MAX_MEMBERS {
            return Err(PackageError::TooLarge {
                what: "tar archive: members",
                limit: MAX_MEMBERS,
            });
        }
        check_sum(header)?;
        let kind = field(header, 156, 1).first().copied().unwrap_or_default();
        let is_file = !matches!(kind, b'1'..=b'6' | b'x' | b'g' | b'L' | b'K' | b'S');
        let size = match pax.size {
            Some(size) if is_file => size,
            _ => number(field(header, 124, 12))?,
        };
        // Links, devices and directories have no contents, whatever their size says.
        let size = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let (contents, after) = usize::try_from(size)
            .ok()
            .and_then(|size| after.split_at_checked(size))
            .ok_or(MALFORMED)?;
        let padding = contents.len().next_multiple_of(BLOCK) - contents.len();
        rest = after.get(padding..).unwrap_or_default();
        match kind {
            b'x' => pax = Extended::parse(contents)?,
            // A global header says nothing about names and contents that upstream heeds; it does end a pending extended header.
            b'g' => (pax, long_name) = (Extended::default(), None),
            b'L' => long_name = Some(until_nul(contents).to_vec()),
            b'K' => {}
            b'S' => return Err(PackageError::Unsupported("a sparse file in tar".into())),
            _ => {
                let pax = std::mem::take(&mut pax);
                let long = long_name.take().filter(|name| !name.is_empty());
                let name = long.or(pax.path).unwrap_or_else(|| name_of(header));
                members.push(Member { name, contents });
            }
        }
    }
    Ok(members)
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

fn field(header: &[u8], from: usize, length: usize) -> &[u8] {
    header.get(from..from + length).unwrap_or_default()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The sum of all bytes with the sum's own field as spaces; old writers added them up as signed numbers.
fn check_sum(header: &[u8]) -> Result<(), PackageError> {
    let stated = i64::try_from(number(field(header, 148, 8))?).map_err(|_| MALFORMED)?;
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (position, byte) in header.iter().enumerate() {
        let byte = if (148..156).contains(&position) {
            b' '
        } else {
            *byte
        };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if stated == unsigned || stated == signed {
        Ok(())
    } else {
        Err(MALFORMED)
    }
}

/// Octal digits between spaces and NULs, or, with the first bit set, a big-endian number (GNU).
fn number(field: &[u8]) -> Result<u64, PackageError> {
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        if first & 0x40 != 0 {
            return Err(PackageError::Malformed("tar archive: a negative number"));
        }
        return rest
            .iter()
            .try_fold(u64::from(first & 0x3f), |number, byte| {
                number.checked_mul(256)?.checked_add(u64::from(*byte))
            })
            .ok_or(MALFORMED);
    }
    let padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field
        .iter()
        .position(|byte| !padding(byte))
        .unwrap_or(field.len());
    let digits = until_nul(field.get(start..).unwrap_or_default()).trim_ascii_end();
    digits
        .iter()
        .try_fold(0_u64, |number, digit| match digit {
            b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
            _ => None,
        })
        .ok_or(MALFORMED)
}

fn name_of(header: &[u8]) -> Vec<u8> {
    let name = until_nul(field(header, 0, 100));
    // GNU's own format has the same magic but for its end, and times in the place of the prefix.
    let prefix = if field(header, 257, 6) != b"ustar\0" {
        &[]
    } else if field(header, 508, 4) == b"tar\0" {
        until_nul(field(header, 345, 131))
    } else {
        until_nul(field(header, 345, 155))
    };
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// What a pax header (POSIX.1-2001) says about the next file, as far as it changes name and contents.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    /// Records of the form `length key=value\n`, the length in decimal and of the whole record.
    fn parse(mut records: &[u8]) -> Result<Self, PackageError> {
        const WRONG: PackageError = PackageError::Malformed("tar archive: extended header");
        let mut extended = Self::default();
        while !records.is_empty() {
            let space = records
                .iter()
                .take(20)
                .position(|byte| *byte == b' ')
                .ok_or(WRONG)?;
            let (digits, _) = records.split_at_checked(space).ok_or(WRONG)?;
            let length: usize = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or(WRONG)?;
            let (record, rest) = records.split_at_checked(length).ok_or(WRONG)?;
            let record = record
                .get(space + 1..)
                .and_then(|record| record.strip_suffix(b"\n"))
                .ok_or(WRONG)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
            let (key, value) = record.split_at_checked(equals).ok_or(WRONG)?;
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"" => return Err(WRONG),
                b"path" if value.contains(&0) => return Err(WRONG),
                b"path" => extended.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
                b"size" => {
                    let digits = std::str::from_utf8(value).map_err(|_| WRONG)?;
                    extended.size = Some(digits.parse().map_err(|_| WRONG)?);
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(PackageError::Unsupported("a sparse file in tar".into()));
                }
                _ => {}
            }
            records = rest;
        }
        Ok(extended)
    }
}
