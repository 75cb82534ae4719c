//! Fuzz target: `outpost.toml`.

use super::Config;
use super::reference::{FILE, switched_on};

#[test]
fn any_text_is_a_configuration_or_is_refused_with_the_reason() {
    let switched_on = switched_on();
    let seeds = [FILE, &switched_on, "[camera.a.source]\nurl = \"rtsp://10.0.0.5/main\"\n"];
    let words = [
        "\n[camera.b.source]\n",
        "\n[upload.b]\nurl = \"s3://b\"\n",
        "\n[webhook.c]\n",
        "\"\"\"",
        "= \"",
        "[[",
        "{ }",
        "1979-05-27T07:32:00Z",
        "GiB",
        "\u{feff}",
    ];
    crate::fuzz::run("config", &seeds.map(str::as_bytes), &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "not UTF-8".to_owned() };
        match Config::parse(text) {
            Ok(config) => format!("{} cameras, {} outlets", config.camera.len(), config.outlets().len()),
            Err(error) => {
                let diagnostics = error.diagnostics();
                assert!(!diagnostics.is_empty() && !error.to_string().is_empty(), "{text:?}");
                diagnostics.iter().map(|d| crate::fuzz::kind(&d.to_string())).take(3).collect()
            }
        }
    });
}
