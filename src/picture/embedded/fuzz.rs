//! Random input for what is embedded in pictures: no panic, no endless work, texts in bounds.

use super::*;
use crate::fuzz::run;

fn jpeg() -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        let length = u16::try_from(content.len() + 2).expect("short");
        [&[0xff, marker][..], &length.to_be_bytes(), content].concat()
    };
    let iptc = b"\x1c\x02\x19\x00\x03dog\x1c\x02\x37\x00\x0820200203";
    let resource = [&b"8BIM\x04\x04\0\0\0\0\0"[..], &[u8::try_from(iptc.len()).expect("short")], iptc].concat();
    let more =
        [&b"http://ns.adobe.com/xmp/extension/\0"[..], &[b'0'; 32], &[0, 0, 0, 9, 0, 0, 0, 0], b"<a>b</a>."].concat();
    [
        &[0xff, 0xd8][..],
        &segment(0xe1, &[b"http://ns.adobe.com/xap/1.0/\0", xmp::SAMPLE.as_bytes()].concat()),
        &segment(0xe1, &more),
        &segment(0xed, &[&b"Photoshop 3.0\0"[..], &resource].concat()),
        &[0xff, 0xda, 0, 2],
    ]
    .concat()
}

fn png() -> Vec<u8> {
    let text = [b"XML:com.adobe.xmp\0\0\0\0\0", xmp::SAMPLE.as_bytes()].concat();
    let length = u32::try_from(text.len()).expect("short").to_be_bytes();
    [b"\x89PNG\r\n\x1a\n", &length[..], b"iTXt", &text, &[0; 4]].concat()
}

fn tiff() -> Vec<u8> {
    let packet = xmp::SAMPLE.as_bytes();
    let length = u32::try_from(packet.len()).expect("short").to_le_bytes();
    let entry = [&[0xbc, 2, 1, 0][..], &length, &[26, 0, 0, 0]].concat();
    [b"II*\0\x08\0\0\0\x01\0", &entry[..], &[0; 4], packet].concat()
}

#[test]
fn what_is_embedded_in_a_picture_may_be_anything() {
    let webp = [b"RIFF\0\0\0\0WEBPXMP \x05\0\0\0", "<a/>\0\0".as_bytes()].concat();
    for (format, seed) in [
        (PictureFormat::Jpeg, jpeg()),
        (PictureFormat::Png, png()),
        (PictureFormat::Tiff, tiff()),
        (PictureFormat::Webp, webp),
    ] {
        let words =
            ["<rdf:li>", "</rdf:li>", "&amp;", "&#x10FFFF;", "<![CDATA[", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "8BIM"];
        run(&format!("embedded-{}", format.as_str()), &[&seed], &words, |input| {
            let mut facts = PictureFacts::unknown(format);
            read(input, format, &mut facts);
            assert!(facts.keywords.len() <= MOST_KEYWORDS);
            assert!(facts.description.as_ref().is_none_or(|text| text.len() <= LONGEST_NOTE));
            format!("{} {} {}", facts.keywords.len(), facts.title.is_some(), facts.taken.is_some())
        });
    }
}
