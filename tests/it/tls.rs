//! Services whose certificates are signed by an authority of their own.

use std::fs;

use crate::clouds::{outlet, wait_for_empty_queue, wait_for_events};
use crate::harness::bucket::S3Server;
use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::tls::{Certificate, Front};
use crate::harness::{Scratch, seconds, wait_for};
use crate::webhooks::Receiver;

#[test]
fn only_an_authority_that_is_named_is_trusted_and_a_corrected_file_counts_at_once() {
    let (scratch, strangers) = (Scratch::new("tls"), Scratch::new("tls-strangers"));
    scratch.expect_log(&["alerts wait, the receiver does not take them", "the destination refuses us"]);
    let (certificate, stranger) = (Certificate::make(&scratch), Certificate::make(&strangers));
    let (cloud, office) = (S3Server::start(&scratch), Receiver::start(&scratch));
    let [cloud_front, office_front] =
        [cloud.port(), office.port].map(|port| Front::start(&scratch, &certificate, port));
    let trusted = scratch.path("trusted.pem");
    fs::copy(&stranger.authority, &trusted).expect("name the wrong one");
    let ca_file = format!("ca_file = \"{}\"", trusted.display());
    let mut config = Config::new(&scratch).uploads_through(&cloud_front.url());
    config.add(&ca_file);
    let mut config = config.posts_to("office", &format!("{}/hook", office_front.url()), &office.secret);
    config.add(&ca_file);
    let mut daemon = Daemon::start(&scratch, config.lamp("gate", Lamp::Twice));
    let events = wait_for_events(&daemon);
    for (name, wanted) in [("upload/cloud", "ca_file"), ("webhook/office", "certificate")] {
        wait_for(&format!("{name} to be refused"), seconds(60), || {
            let status = daemon.json("/api/v1/status");
            let outlets = status["outlets"].as_array().into_iter().flatten();
            let known = outlets.clone().find(|outlet| outlet["name"] == name);
            let said = known.and_then(|outlet| outlet["last_error"].as_str()).unwrap_or_default().to_owned();
            if said.contains(wanted) { Ok(()) } else { Err(status["outlets"].to_string()) }
        });
    }
    assert!(cloud.objects().is_empty() && office.seen().is_empty());
    fs::copy(&certificate.authority, &trusted).expect("name the right one");
    wait_for_empty_queue(&daemon, "cloud");
    assert!(cloud.keys().len() >= events.len() && outlet(&daemon, "cloud")["online"] == true);
    wait_for("every end to be published", seconds(120), || {
        let published = office.seen().iter().filter(|request| request["body"]["phase"] == "end").count();
        if published == events.len() { Ok(()) } else { Err(format!("{published} of {}", events.len())) }
    });
    assert!(daemon.terminate().success());
}
