//! Random answers of cameras.

use super::answer::{read, sample};
use crate::fuzz;

#[test]
fn answers_of_cameras() {
    let seed = sample("id", "Gate%20north");
    let words = ["<d:Scopes>", "onvif://www.onvif.org/name/", "<RelatesTo>id<", "&amp;", "%", "ProbeMatch"];
    fuzz::run("answers of cameras", &[seed.as_bytes()], &words, |input| {
        let camera = read(input, "id", std::net::Ipv4Addr::LOCALHOST.into());
        camera.map_or("none".to_owned(), |camera| {
            assert!(camera.name.chars().count() <= 80 && !camera.name.contains(char::is_control));
            format!("{} {}", camera.name.is_empty(), camera.hardware.is_empty())
        })
    });
}
