//! A link that costs by the byte, as NetworkManager reports.

use std::fs;

use crate::clouds::{outlet, wait_for_empty_queue, wait_for_events};
use crate::harness::bucket::S3Server;
use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::Process;
use crate::harness::{Scratch, repository, seconds, wait_for};

/// A system bus of its own, with tests/servers/network_manager.py on it.
struct Bus {
    environment: String,
    metered: std::path::PathBuf,
    _processes: [Process; 2],
}

impl Bus {
    fn start(scratch: &Scratch) -> Self {
        let address = format!("unix:path={}", scratch.path("bus.socket").display());
        let (file, metered) = (scratch.path("bus.conf"), scratch.path("metered"));
        let policy = "<policy context=\"default\"><allow own=\"*\"/><allow send_destination=\"*\" eavesdrop=\"true\"/>\
                      <allow eavesdrop=\"true\"/><allow user=\"*\"/></policy>";
        let text = format!("<busconfig><listen>{address}</listen><auth>EXTERNAL</auth>{policy}</busconfig>");
        fs::write(&file, text).expect("configure a bus");
        fs::write(&metered, "0").expect("say that it is not known");
        let config = format!("--config-file={}", file.display());
        let arguments = ["--nofork", "--nopidfile", "--nosyslog", "--print-address", &config];
        let mut bus = Process::start("dbus-daemon", "dbus-daemon", &arguments, scratch.path("bus.log"));
        bus.wait_ready(seconds(30), |log| log.contains("unix:path="));
        let server = repository().join("tests/servers/network_manager.py").display().to_string();
        let arguments = [server, address.clone(), metered.display().to_string()];
        let mut manager =
            Process::start("network_manager.py", "/usr/bin/python3", &arguments, scratch.path("manager.log"));
        manager.wait_ready(seconds(30), |log| log.contains("ready"));
        Self { environment: format!("DBUS_SYSTEM_BUS_ADDRESS={address}"), metered, _processes: [bus, manager] }
    }
}

#[test]
fn clips_wait_while_networkmanager_says_that_the_link_is_metered() {
    let scratch = Scratch::new("metered");
    let (cloud, bus) = (S3Server::start(&scratch), Bus::start(&scratch));
    let config = Config::new(&scratch).uploads_to(&cloud).lamp("gate", Lamp::Twice);
    fs::write(&bus.metered, "1").expect("NM_METERED_YES");
    let mut daemon = Daemon::start_in(&scratch, config, &bus.environment);
    let events = wait_for_events(&daemon);
    let clips = || cloud.keys().iter().filter(|key| key.ends_with("/clip.mp4")).count();
    wait_for("all but the clips to be there", seconds(60), || {
        let said = outlet(&daemon, "cloud");
        let held = said["transfers"]["held"].as_str().is_some_and(|held| held.contains("metered"));
        if held && said["queued_items"] == events.len() { Ok(()) } else { Err(said.to_string()) }
    });
    assert_eq!(clips(), 0);
    assert!(cloud.keys().iter().filter(|key| key.ends_with("/snapshot.jpg")).count() == events.len());
    daemon.process().kill();
    fs::write(&bus.metered, "2").expect("NM_METERED_NO");
    daemon.start_again();
    wait_for_empty_queue(&daemon, "cloud");
    assert!(clips() >= events.len());
    assert!(daemon.terminate().success());
}
