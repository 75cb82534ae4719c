//! Bech32 (BIP 173, without its limit of length): the text form of keys.

const CHARACTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
/// Characters of the checksum.
const CHECKSUM: usize = 6;

fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1).fold(next, |sum, (_, term)| sum ^ term)
    })
}

fn expanded(prefix: &str) -> impl Iterator<Item = u8> {
    prefix.bytes().map(|c| c >> 5).chain([0]).chain(prefix.bytes().map(|c| c & 31))
}

/// Groups of `from` bits as groups of `to` bits. `None` where bits that are left over are not zero.
fn regroup(values: &[u8], from: u32, to: u32, pad: bool) -> Option<Vec<u8>> {
    let (mut bits, mut held, mut out) = (0_u32, 0_u32, Vec::new());
    for value in values {
        bits = bits << from | u32::from(*value);
        held += from;
        while held >= to {
            held -= to;
            out.push(u8::try_from(bits >> held & ((1 << to) - 1)).ok()?);
        }
        bits &= (1 << held) - 1;
    }
    if pad && held > 0 {
        out.push(u8::try_from(bits << (to - held)).ok()?);
    } else if !pad && (held >= from || bits != 0) {
        return None;
    }
    Some(out)
}

/// `bytes` as text that begins with `prefix`, in lower case.
#[cfg(test)]
pub(super) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let data = regroup(bytes, 8, 5, true).expect("eight bits fit");
    let sum = polymod(expanded(prefix).chain(data.iter().copied()).chain([0; CHECKSUM])) ^ 1;
    let checksum = (0..CHECKSUM).map(|i| u8::try_from(sum >> (5 * (CHECKSUM - 1 - i)) & 31).expect("five bits"));
    let text = data.iter().copied().chain(checksum).map(|value| char::from(CHARACTERS[usize::from(value)]));
    format!("{prefix}1{}", text.collect::<String>())
}

/// Prefix and bytes of a text; `None` where its checksum is wrong or its case is mixed.
pub(super) fn decode(text: &str) -> Option<(String, Vec<u8>)> {
    let lower = text.to_ascii_lowercase();
    if text != lower && text != text.to_ascii_uppercase() {
        return None;
    }
    let (prefix, data) = lower.rsplit_once('1')?;
    let value = |c: u8| CHARACTERS.iter().position(|known| *known == c).and_then(|at| u8::try_from(at).ok());
    let data: Vec<u8> = data.bytes().map(value).collect::<Option<_>>()?;
    if data.len() < CHECKSUM || polymod(expanded(prefix).chain(data.iter().copied())) != 1 {
        return None;
    }
    let bytes = regroup(data.get(..data.len() - CHECKSUM)?, 5, 8, false)?;
    Some((prefix.to_owned(), bytes))
}
