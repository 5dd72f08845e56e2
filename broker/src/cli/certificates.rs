//! `eventail certificates`: an authority, and a pair each for a server and a client, to try TLS with.
//!
//! Nothing is overwritten, and keys are for their owner alone. Whoever has the authority's key can make certificates that this
//! authority's friends trust: it is for development.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eventail_wire::{Clock, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::json;

use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use super::table::Table;
use super::{Format, Output};
use crate::clock::SystemClock;

const EXAMPLES: &str = "\
Examples:
  eventail certificates create tls
  eventail certificates create tls --host bus.internal --host 10.0.0.7 --client billing";

/// What a certificate is for on this machine, whatever else it is for.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Certificates of public authorities last a year at most, and nobody gets used to more.
const DAYS_MAX: u64 = 3_650;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The arguments of `certificates`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an authority, and a pair each for a server and a client
    #[command(after_help = EXAMPLES)]
    Create {
        /// Where they go; it is made where it is not there
        dir: PathBuf,
        /// What clients call the server: names and addresses, beside localhost
        #[arg(long, value_name = "NAME", num_args = 1..)]
        host: Vec<String>,
        /// What the client is called
        #[arg(long, value_name = "NAME", default_value = "client")]
        client: String,
        /// How long they last
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
        days: u64,
    },
}

/// A file that was made.
struct Made {
    name: &'static str,
    what: String,
    text: String,
    is_key: bool,
}

/// From when until when.
#[derive(Clone, Copy)]
struct Span {
    from: Timestamp,
    until: Timestamp,
}

/// Does it.
pub(super) fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let Action::Create { dir, host, client, days } = arguments.action;
    let now = SystemClock.now();
    // The clocks of other machines may be behind.
    let span = Span { from: Timestamp(now.0.saturating_sub(DAY_MS)), until: now.plus_ms(days * DAY_MS) };
    let hosts = hosts(&host);
    let made = make(&hosts, &client, span).map_err(|source| CliError::MakeCertificates { source })?;
    write_all(&dir, &made)?;
    match arguments.output.output {
        Format::Json => {
            let files: Vec<_> = made.iter().map(|made| dir.join(made.name).display().to_string()).collect();
            screen.json(&json!({ "files": files, "hosts": hosts, "client": client, "days": days }))?;
        }
        Format::Table => tell(&dir, &made, days, screen)?,
    }
    Ok(Exit::Done)
}

fn hosts(named: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for host in named.iter().map(String::as_str).chain(LOCAL) {
        if !hosts.iter().any(|there| there == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}

fn make(hosts: &[String], client: &str, span: Span) -> Result<Vec<Made>, rcgen::Error> {
    let mut authority = parameters("Eventail development authority", &[], span)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut made = vec![
        file("ca.pem", "the authority: whom clients and servers trust", authority.pem()),
        key("ca.key", "its key: makes more of them", authority.key()),
    ];
    let names = hosts.join(", ");
    for (name, hosts, usage, certificate_file, key_file, what) in [
        (
            hosts.first().map_or("localhost", String::as_str),
            hosts,
            ExtendedKeyUsagePurpose::ServerAuth,
            "server.pem",
            "server.key",
            format!("the server's certificate: {names}"),
        ),
        (
            client,
            &[][..],
            ExtendedKeyUsagePurpose::ClientAuth,
            "client.pem",
            "client.key",
            format!("the client's certificate: {client}"),
        ),
    ] {
        let pair = KeyPair::generate()?;
        let mut leaf = parameters(name, hosts, span)?;
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![usage];
        made.push(file(certificate_file, &what, leaf.signed_by(&pair, &authority)?.pem()));
        made.push(key(key_file, "its key", &pair));
    }
    Ok(made)
}

fn parameters(name: &str, hosts: &[String], span: Span) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    if let Some((year, month, day)) = day_of(span.from) {
        parameters.not_before = date_time_ymd(year, month, day);
    }
    if let Some((year, month, day)) = day_of(span.until) {
        parameters.not_after = date_time_ymd(year, month, day);
    }
    Ok(parameters)
}

/// The year, month and day of a moment.
fn day_of(at: Timestamp) -> Option<(i32, u8, u8)> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let (month, day) = (u8::try_from(date.month()).ok()?, u8::try_from(date.day()).ok()?);
    Some((i32::from(date.year()), month, day))
}

fn file(name: &'static str, what: &str, text: String) -> Made {
    Made { name, what: what.to_owned(), text, is_key: false }
}

fn key(name: &'static str, what: &str, key: &KeyPair) -> Made {
    Made { name, what: what.to_owned(), text: key.serialize_pem(), is_key: true }
}

/// Writes all of them, or nothing where one is there already.
fn write_all(dir: &Path, made: &[Made]) -> Result<(), CliError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| CliError::Write { path, source }
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    for path in made.iter().map(|made| dir.join(made.name)) {
        if path.exists() {
            return Err(failed(&path)(io::ErrorKind::AlreadyExists.into()));
        }
    }
    for made in made {
        let path = dir.join(made.name);
        write(&path, &made.text, if made.is_key { 0o600 } else { 0o644 }).map_err(failed(&path))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    options.open(path)?.write_all(text.as_bytes())
}

fn tell(dir: &Path, made: &[Made], days: u64, screen: &mut Screen) -> Result<(), CliError> {
    let mut table = Table::new(&["FILE", "WHAT"]);
    for made in made {
        table.row(vec![dir.join(made.name).display().to_string(), made.what.clone()]);
    }
    table.print(screen, "")?;
    let dir = dir.display();
    screen.line(&format!("\nThey last {days} days. In eventail.toml:\n"))?;
    screen.line(&format!(
        "  [listen.tls]\n  certificate = \"{dir}/server.pem\"\n  key = \"{dir}/server.key\"\n  client_ca = \"{dir}/ca.pem\"\n  client_certificates = \"required\""
    ))?;
    screen.line(&format!("\n{}\n", screen.paint(Paint::Heading, "And then")))?;
    screen.line(&format!(
        "  eventail topics --url https://localhost:4080 --ca-file {dir}/ca.pem --client-cert {dir}/client.pem --client-key {dir}/client.key\n  curl --cacert {dir}/ca.pem --cert {dir}/client.pem --key {dir}/client.key https://localhost:4080/v1/topics"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap();
        Span { from: at("2026-11-22T10:00:00Z"), until: at("2027-11-23T10:00:00Z") }
    }

    #[test]
    fn what_is_made_is_written_once_and_keys_are_for_their_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("tls");
        let made = make(&hosts(&["bus".to_owned()]), "billing", span()).unwrap();
        write_all(&dir, &made).unwrap();
        for name in ["ca", "server", "client"] {
            let mode = |name: String| std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(format!("{name}.key")), 0o600);
            assert_eq!(mode(format!("{name}.pem")) & 0o022, 0);
        }
        let before = std::fs::read(dir.join("ca.pem")).unwrap();
        std::fs::remove_file(dir.join("server.pem")).unwrap();
        let error = write_all(&dir, &make(&[], "x", span()).unwrap()).unwrap_err();
        assert!(matches!(error, CliError::Write { ref path, .. } if path.ends_with("ca.pem")), "{error}");
        assert_eq!(std::fs::read(dir.join("ca.pem")).unwrap(), before);
        assert!(!dir.join("server.pem").exists());
    }

    #[test]
    fn hosts_are_told_once_and_this_machine_is_always_among_them() {
        let named = ["bus".to_owned(), "127.0.0.1".to_owned(), "bus".to_owned()];
        assert_eq!(hosts(&named), ["bus", "127.0.0.1", "localhost", "::1"]);
        assert!(make(&hosts(&["b\u{e4}r".to_owned()]), "x", span()).is_err());
    }

    #[test]
    fn certificates_last_from_one_day_to_another() {
        assert_eq!(day_of(span().from), Some((2026, 11, 22)));
        assert_eq!(day_of(span().until), Some((2027, 11, 23)));
    }
}
