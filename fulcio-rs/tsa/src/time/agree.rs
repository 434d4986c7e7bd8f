//! What several servers say together (Marzullo's algorithm, RFC 5905 11.2.1).

use super::packet::Offset;

/// Where the true offset is, if at least `quorum` of the servers tell the truth: from the lowest to the highest point that so many of their
/// intervals have in common. None where so many have no point in common.
///
/// With a quorum of more than half of those asked, the liars cannot be in the majority at any point, and cannot move an end beyond the
/// interval of a server that tells the truth.
pub(crate) fn agree(said: &[Offset], quorum: usize) -> Option<Offset> {
    let common = |point: i64| {
        let around = said
            .iter()
            .filter(|offset| offset.low <= point && point <= offset.high);
        quorum > 0 && around.count() >= quorum
    };
    // Where the number of intervals around a point rises, one of them begins; where it falls, one ends.
    let low = said.iter().map(|offset| offset.low);
    let high = said.iter().map(|offset| offset.high);
    Some(Offset {
        low: low.filter(|point| common(*point)).min()?,
        high: high.filter(|point| common(*point)).max()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: &[(i64, i64)], quorum: usize) -> Option<(i64, i64)> {
        let said: Vec<_> = said
            .iter()
            .map(|(low, high)| Offset {
                low: *low,
                high: *high,
            })
            .collect();
        agree(&said, quorum).map(|offset| (offset.low, offset.high))
    }

    #[test]
    fn liars_are_outvoted() {
        assert_eq!(of(&[(-5, 5)], 1), Some((-5, 5)));
        assert_eq!(of(&[(-5, 5), (0, 9)], 2), Some((0, 5)));
        // Marzullo's own example: three that overlap, and one that is elsewhere.
        assert_eq!(of(&[(8, 12), (11, 13), (14, 15)], 2), Some((11, 12)));
        assert_eq!(of(&[(-2, 2), (-1, 3), (1000, 1001)], 2), Some((-1, 2)));
        // A liar that overlaps cannot make the others' answer look better than it is.
        assert_eq!(of(&[(-9, 9), (-8, 8), (4, 4)], 2), Some((-8, 8)));
        // Touching is common.
        assert_eq!(of(&[(0, 1), (1, 2)], 2), Some((1, 1)));
    }

    #[test]
    fn without_a_quorum_nothing_is_known() {
        assert_eq!(of(&[], 1), None);
        assert_eq!(of(&[(0, 1)], 2), None);
        assert_eq!(of(&[(0, 1), (5, 6), (9, 10)], 2), None);
        assert_eq!(of(&[(0, 1)], 0), None);
    }

    /// Against every point of a small line.
    #[test]
    fn it_is_what_counting_says() {
        let mut seed = 1_u32;
        let mut random = |below: i64| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            i64::from(seed >> 16) % below
        };
        for _ in 0..2000 {
            let servers = usize::try_from(1 + random(6)).unwrap();
            let quorum = servers / 2 + 1;
            let said: Vec<_> = (0..servers)
                .map(|_| {
                    let low = random(40);
                    (low, low + random(12))
                })
                .collect();
            let common: Vec<i64> = (0..60)
                .filter(|point| {
                    let around = said
                        .iter()
                        .filter(|(low, high)| low <= point && point <= high);
                    around.count() >= quorum
                })
                .collect();
            let expected = common.first().copied().zip(common.last().copied());
            assert_eq!(of(&said, quorum), expected, "{said:?}");
        }
    }
}
