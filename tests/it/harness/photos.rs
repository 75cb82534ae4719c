//! Photos as a program gives them to the box, and as the box lists them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::process::run;
use super::{Scratch, fixture, http};

/// Writes small pictures without end, all different; gives them in the order in which they are sent.
pub fn pictures(scratch: &Scratch) -> impl Iterator<Item = PathBuf> + use<> {
    let small = scratch.path("small.jpg");
    image::open(fixture("pictures/dog.jpg")).expect("a picture").thumbnail(64, 64).save(&small).expect("write");
    let small = fs::read(small).expect("read");
    let folder = scratch.path("given");
    fs::create_dir(&folder).expect("a folder");
    (0_usize..).map(move |n| {
        let path = folder.join(format!("IMG_{n:05}.jpg"));
        // Behind the end of the picture is room for anything.
        fs::write(&path, [&small[..], &n.to_be_bytes()].concat()).expect("write");
        path
    })
}

/// Sends files as a program would; gives what the box acknowledged: names and ids. Nothing where it did not answer.
pub fn send(page: &str, files: &[PathBuf]) -> Option<Vec<(String, String)>> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "60"]).stdin(Stdio::null());
    for file in files {
        curl.arg("--form").arg(format!("file=@{}", file.display()));
    }
    let output = curl.arg(format!("{page}api/v1/photos")).output().expect("curl");
    let answer: Value = output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())??;
    let text = |photo: &Value, field: &str| Some(photo[field].as_str()?.to_owned());
    answer["photos"].as_array()?.iter().map(|photo| Some((text(photo, "name")?, text(photo, "id")?))).collect()
}

/// Every page of the list, as it is answered.
pub fn pages(port: u16) -> Vec<String> {
    let (mut pages, mut place) = (Vec::new(), String::new());
    loop {
        let answer = http::get(port, &format!("/api/v1/photos?limit=500{place}")).expect("an answer");
        let text = String::from_utf8(answer.body).expect("text");
        let next = serde_json::from_str::<Value>(&text).expect("JSON")["next"].as_str().map(str::to_owned);
        pages.push(text);
        let Some(next) = next else { return pages };
        place = format!("&before={next}");
    }
}

/// The photos of these pages.
pub fn listed(pages: &[String]) -> Vec<Value> {
    let photos = |page: &String| {
        serde_json::from_str::<Value>(page).expect("JSON")["photos"].as_array().expect("a list").clone()
    };
    pages.iter().flat_map(photos).collect()
}

/// Shares a photo by a link and opens that as its visitor; gives what the link leads to: `name` and `url`.
pub fn open_share(daemon: &Daemon, id: &Value, stripped: bool) -> Value {
    let post = |path: &str, command: &Value| -> Value {
        let answer = daemon.post(path, command).expect("an answer");
        serde_json::from_slice(&answer.body).expect("JSON")
    };
    let made = post("/api/v1/shares", &json!({ "photo": id, "stripped": stripped }));
    post("/api/v1/shared/open", &json!({ "link": made["link"] }))
}

/// Saves what is at `url`, a path of the box, to a file; gives the headers.
pub fn save_shared(daemon: &Daemon, url: &str, to: &Path) -> String {
    let url = format!("{}{}", daemon.page(), url.trim_start_matches('/'));
    run(Command::new("curl").args(["-s", "--fail", "-D", "-", "-o"]).arg(to).arg(url))
}
