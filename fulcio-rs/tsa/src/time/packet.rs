//! One question and one answer of SNTP (RFC 4330; the packet is that of NTP version 4, RFC 5905 7.3).
//!
//! Why not a library: what an answer proves about the machine's clock is part of what a token says, so every term of the error has to be
//! there (the crates for SNTP keep root delay and root dispersion to themselves), and a wrong answer must be an error with a name.
//!
//! ```text
//!  0   leap(2) version(3) mode(3), stratum, poll, precision
//!  4   root delay, 16.16 seconds
//!  8   root dispersion, 16.16 seconds
//! 12   reference id: the letters of a kiss code where the stratum is 0
//! 16   reference, 24 origin, 32 receive, 40 transmit timestamp, each 32.32 seconds since 1900
//! ```

use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

/// Of a packet without extensions. An answer may have more behind it, which is not looked at.
pub(crate) const LENGTH: usize = 48;

/// Version 4, client.
const REQUEST: u8 = 0b00_100_011;
const SERVER: u8 = 4;
const UNSYNCHRONIZED: u8 = 3;
/// RFC 5905 7.3: 16 is "unsynchronized".
const STRATUM_MAX: u8 = 15;
/// A server that is further than this from the source of its time is of no use (RFC 5905 7.2: MAXDIST).
const ROOT_DISTANCE_MAX: Duration = Duration::from_secs(1);
/// No clock is better than this, whatever it says of itself (RFC 5905 7.2: MINDISP): two good servers must not disagree by a microsecond.
const DISTANCE_MIN: Duration = Duration::from_millis(5);
/// 2^-1 seconds: nobody's clock is read more coarsely.
const PRECISION_MAX: i8 = -1;
/// How much longer than the whole exchange a server may say that it took: two clocks do not tick alike.
const TICKING: i64 = 1_000_000;
/// From 1900 to 1970.
const EPOCH: i128 = 2_208_988_800;
const NANOSECONDS: i128 = 1_000_000_000;

/// Seconds since 1900 in 32.32 bits, of whichever era: only differences mean something, and those are right within 68 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NtpTime(u64);

impl NtpTime {
    pub(crate) fn of(at: Timestamp) -> Self {
        let nanoseconds = at.as_nanosecond().saturating_add(EPOCH * NANOSECONDS);
        let fixed = (nanoseconds << 32_u32).div_euclid(NANOSECONDS);
        Self(u64::try_from(fixed.rem_euclid(1 << 64)).unwrap_or_default())
    }

    /// Nanoseconds from `earlier` to this.
    pub(crate) fn since(self, earlier: Self) -> i64 {
        let fixed = i128::from(self.0.wrapping_sub(earlier.0).cast_signed());
        i64::try_from((fixed * NANOSECONDS) >> 32_u32).unwrap_or(i64::MAX)
    }

    #[cfg(test)]
    pub(crate) fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// An answer that says something about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    received: NtpTime,
    sent: NtpTime,
    /// How far the server's own clock may be off.
    distance: Duration,
}

/// Why an answer says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Useless {
    #[error("the answer has {0} bytes, expected at least {LENGTH}")]
    Short(usize),
    #[error("it is not the answer to this question")]
    Origin,
    #[error("it is a packet of mode {0}, expected that of a server (4)")]
    Mode(u8),
    #[error("it is in version {0} of NTP, expected 4")]
    Version(u8),
    /// RFC 5905 7.4: a server that wants to be left alone.
    #[error("the server refuses to serve: {0}")]
    Kiss(Kiss),
    #[error("the server's clock is not synchronized")]
    Unsynchronized,
    #[error("the server's stratum is {0}, expected 1 to {STRATUM_MAX}")]
    Stratum(u8),
    #[error("the server's clock may be off by {0:?}, more than {ROOT_DISTANCE_MAX:?}")]
    Distance(Duration),
    #[error("the server's times make no sense")]
    Order,
}

/// The code of a "kiss-o'-death" packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kiss {
    /// RATE: asked too often.
    Rate,
    /// DENY, RSTR: not for us.
    Deny,
    /// Any other.
    Other,
}

impl std::fmt::Display for Kiss {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Rate => "RATE",
            Self::Deny => "DENY",
            Self::Other => "an unknown code",
        })
    }
}

/// By how many nanoseconds the server's clock is ahead of ours: somewhere from `low` to `high`, if the server is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// The question. It says nothing about this machine: where its time would stand is a number that only the server it is sent to can repeat.
pub(crate) fn question(cookie: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    let (head, transmit) = packet.split_at_mut(LENGTH - 8);
    transmit.copy_from_slice(&cookie.to_be_bytes());
    if let Some(first) = head.first_mut() {
        *first = REQUEST;
    }
    packet
}

/// Reads an answer to the question with this cookie.
pub(crate) fn read(packet: &[u8], cookie: u64) -> Result<Answer, Useless> {
    let short = || Useless::Short(packet.len());
    let word = |at: usize| -> Result<[u8; 4], Useless> {
        let word = packet.get(at..).and_then(|rest| rest.first_chunk());
        word.copied().ok_or_else(short)
    };
    let time = |at: usize| -> Result<NtpTime, Useless> {
        let time = packet.get(at..).and_then(|rest| rest.first_chunk());
        time.map(|octets| NtpTime(u64::from_be_bytes(*octets)))
            .ok_or_else(short)
    };
    let [first, stratum, _poll, precision] = word(0)?;
    let (origin, received, sent) = (time(24)?, time(32)?, time(40)?);
    // First of all: what follows may be believed to be the server's.
    if origin != NtpTime(cookie) {
        return Err(Useless::Origin);
    }
    let (leap, version, mode) = (first >> 6, (first >> 3) & 7, first & 7);
    if mode != SERVER {
        return Err(Useless::Mode(mode));
    }
    if version != 4 {
        return Err(Useless::Version(version));
    }
    if stratum == 0 {
        return Err(Useless::Kiss(match &word(12)? {
            b"RATE" => Kiss::Rate,
            b"DENY" | b"RSTR" => Kiss::Deny,
            _ => Kiss::Other,
        }));
    }
    if leap == UNSYNCHRONIZED {
        return Err(Useless::Unsynchronized);
    }
    if stratum > STRATUM_MAX {
        return Err(Useless::Stratum(stratum));
    }
    let zero = NtpTime(0);
    if received == zero || sent == zero || sent.since(received) < 0 {
        return Err(Useless::Order);
    }
    let precision = precision.cast_signed();
    if precision > PRECISION_MAX {
        return Err(Useless::Order);
    }
    let distance = (short_format(word(4)?) / 2)
        .saturating_add(short_format(word(8)?))
        .saturating_add(Duration::from_secs_f64(f64::from(precision).exp2()));
    if distance > ROOT_DISTANCE_MAX {
        return Err(Useless::Distance(distance));
    }
    Ok(Answer {
        received,
        sent,
        distance: distance.max(DISTANCE_MIN),
    })
}

/// 16.16 seconds.
fn short_format(word: [u8; 4]) -> Duration {
    let nanoseconds = (u64::from(u32::from_be_bytes(word)) * 1_000_000_000) >> 16;
    Duration::from_nanos(nanoseconds)
}

impl Answer {
    /// What the answer says (RFC 5905 8), where the question was sent at `asked` by our clock and the answer came `took` later.
    pub(crate) fn offset(&self, asked: Timestamp, took: Duration) -> Result<Offset, Useless> {
        let took = i64::try_from(took.as_nanos()).map_err(|_| Useless::Order)?;
        let asked = NtpTime::of(asked);
        let there = self.received.since(asked);
        let back = self.sent.since(asked).saturating_sub(took);
        let delay = took.saturating_sub(self.sent.since(self.received));
        if delay < -TICKING {
            return Err(Useless::Order);
        }
        let distance = i64::try_from(self.distance.as_nanos()).unwrap_or(i64::MAX);
        // The message was on its way for no less than no time, there and back: so each way gives one end.
        let (low, high) = (there.min(back), there.max(back));
        Ok(Offset {
            low: low.saturating_sub(distance),
            high: high.saturating_add(distance),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: u64 = 0x0123_4567_89ab_cdef;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// An answer of a server of stratum 2 that is 30 ms from its source, received and sent at these times.
    fn packet(received: Timestamp, sent: Timestamp) -> [u8; LENGTH] {
        let mut packet = [0; LENGTH];
        packet[..4].copy_from_slice(&[0x24, 2, 6, 0xec]);
        packet[4..8].copy_from_slice(&(65536_u32 / 50).to_be_bytes());
        packet[8..12].copy_from_slice(&(65536_u32 / 50).to_be_bytes());
        packet[24..32].copy_from_slice(&COOKIE.to_be_bytes());
        packet[32..40].copy_from_slice(&NtpTime::of(received).bytes());
        packet[40..].copy_from_slice(&NtpTime::of(sent).bytes());
        packet
    }

    fn milliseconds(nanoseconds: i64) -> f64 {
        f64::from(i32::try_from(nanoseconds / 1000).unwrap()) / 1000.0
    }

    #[test]
    fn what_a_server_says_is_computed_as_rfc_5905_does() {
        // Our clock is two seconds behind; 40 ms there, 10 ms of work, 20 ms back.
        let asked = at("2026-11-28T12:00:00Z");
        let answer = packet(at("2026-11-28T12:00:02.04Z"), at("2026-11-28T12:00:02.05Z"));
        let answer = read(&answer, COOKIE).unwrap();
        let offset = answer.offset(asked, Duration::from_millis(70)).unwrap();
        let middle = milliseconds(i64::midpoint(offset.low, offset.high));
        let width = milliseconds(offset.high - offset.low);
        // theta = ((T2-T1)+(T3-T4))/2, and delta/2 + root delay/2 + root dispersion + precision on either side.
        assert!((middle - 2010.0).abs() < 0.01, "{middle}");
        assert!((width - 120.0).abs() < 0.1, "{width}");
        assert!(offset.low < 2_000_000_000 && 2_000_000_000 < offset.high);
    }

    #[test]
    fn times_are_compared_across_the_end_of_an_era() {
        for (one, other) in [
            ("2036-02-07T06:28:15Z", "2036-02-07T06:28:17Z"),
            ("1999-12-31T23:59:59Z", "2000-01-01T00:00:01Z"),
            ("1969-12-31T23:59:59Z", "1970-01-01T00:00:01Z"),
        ] {
            let (one, other) = (NtpTime::of(at(one)), NtpTime::of(at(other)));
            assert_eq!(other.since(one), 2_000_000_000);
            assert_eq!(one.since(other), -2_000_000_000);
        }
        // RFC 5905 figure 4.
        let known = NtpTime::of(at("1970-01-01T00:00:00Z"));
        assert_eq!(known, NtpTime(2_208_988_800 << 32));
    }

    #[test]
    fn a_question_gives_away_nothing() {
        let question = question(COOKIE);
        assert_eq!(question[0], 0x23);
        assert!(question[1..40].iter().all(|byte| *byte == 0));
        assert_eq!(question[40..], COOKIE.to_be_bytes());
    }

    #[test]
    fn answers_that_say_nothing_are_refused_by_name() {
        let now = at("2026-11-28T12:00:00Z");
        let good = packet(now, now);
        assert!(read(&good, COOKIE).is_ok());
        assert!(read(&[&good[..], &[0; 20]].concat(), COOKIE).is_ok());
        for length in 0..LENGTH {
            assert_eq!(read(&good[..length], COOKIE), Err(Useless::Short(length)));
        }
        assert_eq!(read(&good, COOKIE ^ 1), Err(Useless::Origin));
        let with = |position: usize, bytes: &[u8]| {
            let mut packet = good;
            packet[position..position + bytes.len()].copy_from_slice(bytes);
            read(&packet, COOKIE).unwrap_err()
        };
        assert_eq!(with(0, &[0x23]), Useless::Mode(3));
        assert_eq!(with(0, &[0x1c]), Useless::Version(3));
        assert_eq!(with(0, &[0xe4]), Useless::Unsynchronized);
        assert_eq!(with(1, &[16]), Useless::Stratum(16));
        let kiss = |code: &[u8; 4]| {
            let mut packet = good;
            (packet[0], packet[1]) = (0xe4, 0);
            packet[12..16].copy_from_slice(code);
            read(&packet, COOKIE).unwrap_err()
        };
        assert_eq!(kiss(b"RATE"), Useless::Kiss(Kiss::Rate));
        assert_eq!(kiss(b"DENY"), Useless::Kiss(Kiss::Deny));
        assert_eq!(kiss(b"XXXX"), Useless::Kiss(Kiss::Other));
        assert!(matches!(with(8, &[0, 1, 0, 0]), Useless::Distance(_)));
        assert!(matches!(with(4, &[0xff; 4]), Useless::Distance(_)));
        assert_eq!(with(3, &[0]), Useless::Order);
        assert_eq!(with(32, &[0; 8]), Useless::Order);
        assert_eq!(with(40, &[0; 8]), Useless::Order);
        let backwards = packet(now, now - Duration::from_secs(1));
        assert_eq!(read(&backwards, COOKIE), Err(Useless::Order));
        // More time at the server than the whole exchange took.
        let slow = read(&packet(now, now + Duration::from_secs(1)), COOKIE).unwrap();
        assert_eq!(
            slow.offset(now, Duration::from_millis(500)),
            Err(Useless::Order)
        );
    }
}
