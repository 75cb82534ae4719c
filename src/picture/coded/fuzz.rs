//! Random input for the container of HEIC and AVIF; what is coded in it is libavcodec's.

use super::*;
use crate::fuzz::run;

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len() + 8).expect("short").to_be_bytes()[..], kind, content].concat()
}

/// A grid of two tiles whose places, properties and references are given.
fn seed() -> Vec<u8> {
    let infe = |item: u8, kind: &[u8; 4]| boxed(b"infe", &[&[2, 0, 0, 0, 0, item, 0, 0][..], kind, &[0]].concat());
    let iinf = [&[0, 0, 0, 0, 0, 3][..], &infe(1, b"hvc1"), &infe(2, b"hvc1"), &infe(3, b"grid")].concat();
    let place = |item: u8, at: u8, length: u8| [0, item, 0, 1, 0, 0, 0, 1, 0, 0, 0, at, 0, 0, 0, length];
    let iloc = [&[1, 0, 0, 0, 0x44, 0, 0, 3][..], &place(1, 0, 4), &place(2, 0, 4), &place(3, 4, 8)].concat();
    let ipco =
        [boxed(b"hvcC", &[1; 23]), boxed(b"ispe", &[0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 64]), boxed(b"irot", &[1])]
            .concat();
    let ipma = [0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 2, 1, 2, 0, 3, 2, 2, 0x83];
    let iref = [&[0; 4][..], &boxed(b"dimg", &[0, 3, 0, 2, 0, 1, 0, 2])].concat();
    let idat = [1, 2, 3, 4, 0, 0, 0, 1, 0, 64, 0, 32];
    let meta = [
        vec![0; 4],
        boxed(b"pitm", &[0, 0, 0, 0, 0, 3]),
        boxed(b"iinf", &iinf),
        boxed(b"iloc", &iloc),
        boxed(b"iprp", &[boxed(b"ipco", &ipco), boxed(b"ipma", &ipma)].concat()),
        boxed(b"iref", &iref),
        boxed(b"idat", &idat),
    ]
    .concat();
    [boxed(b"ftyp", b"heic\0\0\0\0mif1heic"), boxed(b"meta", &meta)].concat()
}

#[test]
fn the_container_of_a_heic_may_say_anything() {
    let seed = seed();
    let container = Container::open(seed.as_slice()).expect("a container");
    assert_eq!(size(&container), Some((64, 64)));
    run("heif", &[&seed], &["grid", "hvc1", "av01", "mime", "ispe", "iloc"], |input| match Container::open(input) {
        Ok(container) => {
            let outcome = decode(input, &container).map(|still| still.picture.dimensions());
            format!("{:?} {}", size(&container).is_some(), crate::fuzz::kind(&format!("{outcome:?}")))
        }
        Err(reason) => reason,
    });
}
