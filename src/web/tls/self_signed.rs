//! A certificate that the box makes for itself. Clients know it by its fingerprint, so it is made as seldom as possible.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::sign::CertifiedKey;
use tracing::{info, warn};

use super::names::{addresses, host_names};
use crate::clock::{Clock, TimeQuality};
use crate::durable;

/// Certificate and key, in one file, so that they never differ.
const FILE: &str = "self-signed.pem";
/// What the line before the certificate begins with.
const VALID_UNTIL: &str = "Valid until ";

/// Clients refuse certificates that are valid for more than 825 days.
const VALID_DAYS: i64 = 800;
/// So many days before its end it is made again.
const RENEWED_BEFORE: i64 = 30;
/// A client's clock may be behind the box's.
const VALID_BEFORE: i64 = 2;

/// A certificate that was made while the clock of the box was wrong is valid for as long as one may ever be needed.
const WITHOUT_CLOCK: (Date, Date) = (jiff::civil::date(2020, 1, 1), jiff::civil::date(2049, 12, 31));

/// The one in `folder`; where there is none, or it comes to its end, a new one. Blocks on the disk.
pub(super) fn load_or_make(folder: &Path, clock: &dyn Clock) -> Result<CertifiedKey> {
    let file = folder.join(FILE);
    let today = (clock.quality() == TimeQuality::Synchronised).then(|| day(clock.wall()));
    if file.exists() {
        match load(&file, today) {
            Ok(Some(key)) => return Ok(key),
            Ok(None) => info!("the page's own certificate comes to its end"),
            Err(error) => warn!(error = format!("{error:#}"), "the page's own certificate cannot be used any more"),
        }
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    let text = make(today).context("make a certificate")?;
    write(&file, &text).with_context(|| format!("write {}", file.display()))?;
    super::read(&file, &file)
}

/// The one in `file`, unless it ends too soon.
fn load(file: &Path, today: Option<Date>) -> Result<Option<CertifiedKey>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let until = text.lines().find_map(|line| line.strip_prefix(VALID_UNTIL)?.parse::<Date>().ok());
    let renewed = until.and_then(|until| until.checked_sub(Span::new().days(RENEWED_BEFORE)).ok());
    if today.zip(renewed).is_some_and(|(today, renewed)| today >= renewed) {
        return Ok(None);
    }
    super::read(file, file).map(Some)
}

fn make(today: Option<Date>) -> Result<String> {
    let (from, until) = match today {
        Some(today) => {
            let days = |days: i64| today.checked_add(Span::new().days(days));
            (days(-VALID_BEFORE)?, days(VALID_DAYS)?)
        }
        None => WITHOUT_CLOCK,
    };
    let names: Vec<String> = host_names().into_iter().chain(addresses().iter().map(ToString::to_string)).collect();
    let host = names.get(1).cloned().unwrap_or_else(|| "outpost".to_owned());
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Outpost on {host}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let midnight =
        |day: Date| rcgen::date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs());
    (params.not_before, params.not_after) = (midnight(from), midnight(until));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{VALID_UNTIL}{until}\n{}{}", certificate.pem(), key.serialize_pem()))
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let draft = file.with_added_extension("tmp");
    // No other user may read it, not even while it is written.
    std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    durable::replace_with(file, &draft, |out| out.write_all(text.as_bytes()))
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Mono, SimulatedClock};

    fn clock(wall: &str) -> SimulatedClock {
        SimulatedClock::new(Mono(0), wall.parse().expect("a time"))
    }

    fn certificate(folder: &Path, clock: &SimulatedClock) -> Vec<u8> {
        load_or_make(folder, clock).expect("a certificate").cert[0].to_vec()
    }

    #[test]
    fn it_is_made_once_for_the_owner_alone_and_again_before_its_end() {
        let dir = tempfile::tempdir().expect("tempdir");
        let folder = dir.path().join("web");
        let clock = clock("2026-11-28T10:00:00Z");
        let first = certificate(&folder, &clock);
        let mode = std::fs::metadata(folder.join(FILE)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        clock.advance(Duration::from_secs(700 * 86_400));
        assert_eq!(certificate(&folder, &clock), first);
        clock.advance(Duration::from_secs(71 * 86_400));
        let (wall, now) = (clock.wall(), TimeQuality::Unsynchronised);
        clock.step_wall(wall, now);
        assert_eq!(certificate(&folder, &clock), first, "a clock that may be wrong ends nothing");
        clock.step_wall(wall, TimeQuality::Synchronised);
        let second = certificate(&folder, &clock);
        assert_ne!(second, first);
        assert_eq!(certificate(&folder, &clock), second);
    }

    #[test]
    fn a_box_without_a_clock_makes_one_that_is_valid_when_it_has_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let clock = clock("1970-01-01T00:01:00Z");
        clock.step_wall(clock.wall(), TimeQuality::Implausible);
        let first = certificate(dir.path(), &clock);
        clock.step_wall("2031-05-01T00:00:00Z".parse().expect("a time"), TimeQuality::Synchronised);
        assert_eq!(certificate(dir.path(), &clock), first);
    }

    #[test]
    fn a_broken_file_is_replaced() {
        let dir = tempfile::tempdir().expect("tempdir");
        let clock = clock("2026-11-28T10:00:00Z");
        let first = certificate(dir.path(), &clock);
        std::fs::write(dir.path().join(FILE), "torn").expect("write");
        assert_ne!(certificate(dir.path(), &clock), first);
    }
}
