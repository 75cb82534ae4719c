//! Numbers inside NAL units (ITU-T H.264 7.2, 7.4.1 and 9.1).

/// Reads bits, the highest of each byte first.
#[derive(Clone)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// A number of `count` bits, at most 32.
    pub(super) fn fixed(&mut self, count: u32) -> Option<u32> {
        let mut number = 0;
        for _ in 0..count {
            number = number << 1 | u32::from(bit(self.bytes, self.at)?);
            self.at += 1;
        }
        Some(number)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        self.fixed(1).map(|bit| bit == 1)
    }

    /// An Exp-Golomb code without a sign.
    pub(super) fn number(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.fixed(zeros)?)
    }

    /// One with a sign.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.number()?);
        Some(if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 })
    }
}

fn bit(bytes: &[u8], at: usize) -> Option<bool> {
    Some(bytes.get(at / 8)? >> (7 - at % 8) & 1 == 1)
}

/// Writes bits behind one another.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    length: usize,
}

impl BitWriter {
    pub(super) fn push(&mut self, bit: bool) {
        if self.length.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.length % 8);
        }
        self.length += 1;
    }

    /// Copies the bits from `from` up to `to`.
    pub(super) fn copy(&mut self, bytes: &[u8], from: usize, to: usize) {
        (from..to).map_while(|at| bit(bytes, at)).for_each(|bit| self.push(bit));
    }

    /// Goes on with whole bytes, after as many ones as it takes to the next byte.
    pub(super) fn align_and_append(&mut self, bytes: &[u8]) {
        while !self.length.is_multiple_of(8) {
            self.push(true);
        }
        self.bytes.extend_from_slice(bytes);
        self.length = self.bytes.len() * 8;
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Where the last bit that is one stands; it ends the data of a NAL unit.
pub(super) fn last_one(bytes: &[u8]) -> Option<usize> {
    let byte = bytes.iter().rposition(|byte| *byte != 0)?;
    Some(byte * 8 + 7 - usize::try_from(bytes.get(byte)?.trailing_zeros()).ok()?)
}

/// A NAL unit without the bytes that only keep start codes from appearing in it, up to `limit` bytes of it.
pub(super) fn unescaped(unit: &[u8], limit: usize) -> Vec<u8> {
    let mut zeros = 0;
    let keep = |byte: &&u8| {
        let is_escape = zeros >= 2 && **byte == 3;
        zeros = if **byte == 0 { zeros + 1 } else { 0 };
        !is_escape
    };
    unit.iter().take(limit).filter(keep).copied().collect()
}

/// The opposite.
pub(super) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let (mut unit, mut zeros) = (Vec::with_capacity(bytes.len() + 8), 0);
    for byte in bytes {
        if zeros >= 2 && *byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        unit.push(*byte);
    }
    if unit.last() == Some(&0) {
        unit.push(3);
    }
    unit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_the_standard_codes_them() {
        // 1, 010, 011, 00100, then 101 as it stands.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_1010]);
        assert_eq!((bits.number(), bits.number(), bits.signed(), bits.number()), (Some(0), Some(1), Some(-1), Some(3)));
        assert_eq!((bits.fixed(3), bits.position(), bits.fixed(2)), (Some(0b101), 15, None));
    }

    proptest! {
        #[test]
        fn escapes_come_and_go(bytes in proptest::collection::vec(0u8..5, 1..60)) {
            let unit = escaped(&bytes);
            prop_assert!(unit.windows(3).all(|w| !(w[0] == 0 && w[1] == 0 && w[2] < 3)), "{unit:?}");
            // No unit ends with a zero.
            let mut back = unescaped(&unit, usize::MAX);
            if bytes.last() == Some(&0) && back.last() == Some(&3) {
                back.pop();
            }
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn bits_that_are_copied_are_the_same(bytes in proptest::collection::vec(any::<u8>(), 1..20), at in 0usize..160) {
            let at = at.min(bytes.len() * 8);
            let mut writer = BitWriter::default();
            writer.copy(&bytes, 0, at);
            writer.copy(&bytes, at, bytes.len() * 8);
            prop_assert_eq!(writer.into_bytes(), bytes);
        }
    }
}
