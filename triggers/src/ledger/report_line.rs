//! Lambda's own report of a run, found in the last lines of its log: the line `REPORT RequestId: …` of the text format, or the
//! object `platform.report` of the JSON format.
//!
//! The log is written by somebody else: whatever it holds, this does not panic, and what cannot be read is absent. The last
//! report wins, since a function may print what looks like one before the platform does.
//!
//! Formats: <https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html> (text) and
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html#platform-report> (JSON).

use serde::Deserialize;

/// How a run ended by its report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportStatus {
    /// It answered; with an error of its own perhaps.
    #[default]
    Success,
    /// It crashed, broke the protocol or was killed.
    Error,
    /// It did not answer in time.
    Timeout,
}

/// What a report says. Times in milliseconds, memory in MiB (which Lambda calls MB).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// The invocation's id.
    pub request_id: String,
    /// How long the run took, without init.
    pub duration_ms: f64,
    /// What is paid for; since 2025-08-01 with the init, where there was one.
    pub billed_ms: Option<u64>,
    /// The memory that it may have.
    pub memory_mb: Option<u32>,
    /// The most that it had.
    pub memory_used_mb: Option<u32>,
    /// How long the init took; present on a cold start.
    pub init_ms: Option<f64>,
    /// How long a snapshot took to be restored (SnapStart); present on a cold start of that kind.
    pub restore_ms: Option<f64>,
    /// How it ended.
    pub status: ReportStatus,
    /// What failed, where the platform says so: `Runtime.OutOfMemory`, `Runtime.ExitError` …
    pub error_type: Option<String>,
}

impl RunFacts {
    /// How long the cold start took, of either kind; `None` where the run was warm.
    #[must_use]
    pub fn cold_start_ms(&self) -> Option<f64> {
        self.init_ms.or(self.restore_ms)
    }

    /// Whether it was killed for its memory: the platform says so, or it was killed with nothing left.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        let Some(error_type) = &self.error_type else { return false };
        let has_used_all =
            matches!((self.memory_used_mb, self.memory_mb), (Some(used), Some(size)) if used >= size);
        error_type.contains("OutOfMemory")
            || (has_used_all && (error_type.contains("signal: killed") || error_type == "Runtime.ExitError"))
    }
}

/// What the last report in `log` says; `None` where there is none that can be read.
#[must_use]
pub fn parse(log: &str) -> Option<RunFacts> {
    log.lines().rev().find_map(|line| {
        let line = line.trim();
        match line.strip_prefix("REPORT ") {
            Some(fields) => parse_text(fields),
            None if line.starts_with('{') && line.contains("platform.report") => parse_json(line),
            None => None,
        }
    })
}

fn parse_text(fields: &str) -> Option<RunFacts> {
    let mut facts = RunFacts::default();
    let mut has_duration = false;
    for_each_field(fields, &mut |label, value| match label {
        "RequestId" => value.clone_into(&mut facts.request_id),
        "Duration" => {
            if let Some(duration_ms) = number(value) {
                facts.duration_ms = duration_ms;
                has_duration = true;
            }
        }
        "Billed Duration" => facts.billed_ms = number(value).map(rounded_up),
        "Memory Size" => facts.memory_mb = number(value).map(megabytes),
        "Max Memory Used" => facts.memory_used_mb = number(value).map(megabytes),
        "Init Duration" => facts.init_ms = number(value),
        "Restore Duration" => facts.restore_ms = number(value),
        "Status" => facts.status = status_of(value),
        "Error Type" => facts.error_type = Some(value.to_owned()),
        _ => {}
    });
    (has_duration && !facts.request_id.is_empty()).then_some(facts)
}

/// Fields are parted by tabs: `Label: value`. Some tools that hand logs on make spaces of them.
fn for_each_field(fields: &str, each: &mut impl FnMut(&str, &str)) {
    if fields.contains('\t') {
        for field in fields.split('\t') {
            if let Some((label, value)) = field.split_once(':') {
                // `XRAY TraceId` is the only label with a prefix of its own; nobody asks for it.
                each(label.trim(), value.trim());
            }
        }
        return;
    }
    // A label is what stands between a value (and its unit) and a colon; a value is one word.
    let (mut label_at, mut words) = (0, words(fields).peekable());
    while let Some((at, word)) = words.next() {
        if matches!(word, "ms" | "MB") && at == label_at {
            label_at = words.peek().map_or(fields.len(), |(next, _)| *next);
        } else if word.ends_with(':') {
            let Some((value_at, value)) = words.next() else { return };
            let label = fields[label_at..value_at].trim_end().trim_end_matches(':');
            each(label, value);
            label_at = words.peek().map_or(fields.len(), |(next, _)| *next);
        }
    }
}

/// The words of a text, each with its place.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let place = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_ascii_whitespace().map(move |word| (place(word), word))
}

/// `3.01 ms` or `128 MB`, without the unit.
fn number(value: &str) -> Option<f64> {
    let number = value.split_ascii_whitespace().next()?.parse::<f64>().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

fn rounded_up(milliseconds: f64) -> u64 {
    milliseconds.ceil() as u64
}

fn megabytes(number: f64) -> u32 {
    number as u32
}

fn status_of(status: &str) -> ReportStatus {
    match status {
        "timeout" => ReportStatus::Timeout,
        "error" | "failure" => ReportStatus::Error,
        _ => ReportStatus::Success,
    }
}

#[derive(Deserialize)]
struct JsonLine {
    r#type: String,
    record: JsonRecord,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRecord {
    request_id: String,
    #[serde(default)]
    status: String,
    metrics: JsonMetrics,
    #[serde(default)]
    error_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonMetrics {
    duration_ms: f64,
    billed_duration_ms: Option<f64>,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: Option<f64>,
    #[serde(rename = "maxMemoryUsedMB")]
    max_memory_used_mb: Option<f64>,
    init_duration_ms: Option<f64>,
    restore_duration_ms: Option<f64>,
}

fn parse_json(line: &str) -> Option<RunFacts> {
    let line: JsonLine = serde_json::from_str(line).ok()?;
    if line.r#type != "platform.report" {
        return None;
    }
    let JsonRecord { request_id, status, metrics, error_type } = line.record;
    let valid = |number: Option<f64>| number.filter(|number| number.is_finite() && *number >= 0.0);
    Some(RunFacts {
        request_id,
        duration_ms: valid(Some(metrics.duration_ms))?,
        billed_ms: valid(metrics.billed_duration_ms).map(rounded_up),
        memory_mb: valid(metrics.memory_size_mb).map(megabytes),
        memory_used_mb: valid(metrics.max_memory_used_mb).map(megabytes),
        init_ms: valid(metrics.init_duration_ms),
        restore_ms: valid(metrics.restore_duration_ms),
        status: status_of(&status),
        error_type,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WARM: &str = "REPORT RequestId: 6f747a42-4f6a-4b0e-9a3c-9d1c2f7f0001\tDuration: 3.01 ms\tBilled Duration: 4 ms\t\
                        Memory Size: 128 MB\tMax Memory Used: 36 MB\t";

    fn warm() -> RunFacts {
        RunFacts {
            request_id: "6f747a42-4f6a-4b0e-9a3c-9d1c2f7f0001".to_owned(),
            duration_ms: 3.01,
            billed_ms: Some(4),
            memory_mb: Some(128),
            memory_used_mb: Some(36),
            ..RunFacts::default()
        }
    }

    #[test]
    fn a_warm_run_is_read() {
        let log = format!("START RequestId: 6f74 Version: $LATEST\nhello\nEND RequestId: 6f74\n{WARM}\n");
        assert_eq!(parse(&log), Some(warm()));
        assert_eq!(parse(&log).unwrap().cold_start_ms(), None);
    }

    #[test]
    fn a_cold_run_says_what_init_took() {
        let facts = parse(&format!("{WARM}Init Duration: 110.10 ms\t\n")).unwrap();
        assert_eq!(facts, RunFacts { init_ms: Some(110.10), ..warm() });
        assert_eq!(facts.cold_start_ms(), Some(110.10));
    }

    #[test]
    fn a_restored_snapshot_is_a_cold_start() {
        let log = format!(
            "{WARM}Restore Duration: 511.25 ms\tBilled Restore Duration: 303 ms\t\n\
             XRAY TraceId: 1-5bef4de7-ad49b0e87f6ef6c87fc2e700\tSegmentId: 9a9197af755a6419\tSampled: true\n"
        );
        let facts = parse(&log).unwrap();
        assert_eq!(facts, RunFacts { restore_ms: Some(511.25), ..warm() });
        assert_eq!(facts.cold_start_ms(), Some(511.25));
    }

    #[test]
    fn the_end_of_a_run_is_told_apart() {
        let timeout = parse(&format!("{WARM}Status: timeout")).unwrap();
        assert_eq!((timeout.status, timeout.error_type), (ReportStatus::Timeout, None));
        let memory = parse(&format!("{WARM}Status: error\tError Type: Runtime.OutOfMemory\n")).unwrap();
        assert_eq!(memory.status, ReportStatus::Error);
        assert!(memory.is_out_of_memory());
        let crash = parse(&format!("{WARM}Status: error\tError Type: Runtime.ExitError\n")).unwrap();
        assert!(!crash.is_out_of_memory(), "memory was left");
        let full = WARM.replace("36 MB", "128 MB");
        let killed = parse(&format!(
            "{full}Status: error\tError Type: Runtime exited with error: signal: killed Runtime.ExitError\n"
        ));
        assert!(killed.unwrap().is_out_of_memory());
    }

    #[test]
    fn fields_may_be_missing_or_unknown_and_tabs_may_be_spaces() {
        let facts = parse("REPORT RequestId: a\tDuration: 300000.00 ms\tNew Field: 7 light years").unwrap();
        assert_eq!(
            facts,
            RunFacts { request_id: "a".to_owned(), duration_ms: 300_000.0, ..RunFacts::default() }
        );
        let spaces = format!(
            "{WARM}Init Duration: 9.5 ms\tXRAY TraceId: 1-2\tSegmentId: 3\tSampled: true\tStatus: error\t"
        );
        let facts = parse(&spaces.replace('\t', " ")).unwrap();
        assert_eq!(facts, RunFacts { init_ms: Some(9.5), status: ReportStatus::Error, ..warm() });
    }

    #[test]
    fn the_last_report_wins_and_what_is_cut_is_passed_over() {
        let later = WARM.replace("3.01", "7.5");
        assert_eq!(parse(&format!("{WARM}\nmore\n{later}\r\n")).unwrap().duration_ms, 7.5);
        let head_cut = &WARM[3..];
        assert_eq!(parse(&format!("{head_cut}\n{later}")).unwrap().duration_ms, 7.5);
        assert_eq!(parse(head_cut), None);
        assert_eq!(parse("REPORT RequestId: 6f747a42\tDurat"), None);
        assert_eq!(parse(&format!("{WARM}\nREPORT RequestId: 6f747a42\tDurat")), Some(warm()));
        assert_eq!(parse("INIT_REPORT Init Duration: 412.11 ms\tPhase: init\tStatus: timeout"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_json_format_is_read() {
        let log = concat!(
            r#"cut","record":{"requestId":"x"}}"#,
            "\n",
            r#"{"time":"2026-11-23T10:00:00.000Z","type":"platform.start","record":{"requestId":"r1","version":"$LATEST"}}"#,
            "\n",
            r#"{"time":"2026-11-23T10:00:00.900Z","type":"platform.report","record":{"requestId":"r1","status":"timeout","#,
            r#""metrics":{"durationMs":3.5,"billedDurationMs":115,"memorySizeMB":128,"maxMemoryUsedMB":36,"initDurationMs":110.9},"#,
            r#""tracing":{"spanId":"1","type":"X-Amzn-Trace-Id","value":"Root=1"},"errorType":"Sandbox.Timedout"}}"#,
            "\n",
        );
        let expected = RunFacts {
            request_id: "r1".to_owned(),
            duration_ms: 3.5,
            billed_ms: Some(115),
            memory_mb: Some(128),
            memory_used_mb: Some(36),
            init_ms: Some(110.9),
            status: ReportStatus::Timeout,
            error_type: Some("Sandbox.Timedout".to_owned()),
            ..RunFacts::default()
        };
        assert_eq!(parse(log), Some(expected));
    }

    #[test]
    fn a_line_that_only_speaks_of_reports_is_none() {
        for log in [
            r#"{"message":"platform.report"}"#,
            r#"{"type":"platform.report"}"#,
            r#"{"type":"other","record":{"requestId":"r","metrics":{"durationMs":1}},"x":"platform.report"}"#,
            r#"{"type":"platform.report","record":{"requestId":"r","metrics":{"durationMs":-1}}}"#,
            "REPORT RequestId: a\tDuration: NaN ms",
            "REPORT RequestId: a\tDuration: -1 ms",
            "REPORT of the day: Duration: much",
        ] {
            assert_eq!(parse(log), None, "{log}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(log in "\\PC*", tail in "(REPORT )?[ \\ta-zA-Z:0-9.\u{e9}-]{0,80}") {
            drop(parse(&log));
            drop(parse(&format!("{log}\nREPORT RequestId: {tail}")));
            drop(parse(&tail));
        }

        #[test]
        fn a_report_is_found_between_any_lines_and_behind_any_cut(
            before in "[^\\p{C}R{]{0,60}", after in "[^\\p{C}R{]{0,60}", cut in 0..400_usize,
        ) {
            let log = format!("{WARM}\n{before}\n{WARM}Init Duration: 5 ms\t\n{after}");
            let last = log.len() - log.rfind("REPORT").unwrap();
            let cut = log.ceil_char_boundary(cut.min(log.len() - last));
            prop_assert_eq!(parse(&log[cut..]).unwrap().init_ms, Some(5.0));
        }

        #[test]
        fn numbers_come_back_as_they_were_written(
            duration in 0..90_000_000_u32, billed in 0..900_001_u64, size in 128..10_241_u32, used in 1..10_241_u32,
            parted_by_spaces in any::<bool>(),
        ) {
            let duration_ms = f64::from(duration) / 100.0;
            let line = format!(
                "REPORT RequestId: r\tDuration: {duration_ms:.2} ms\tBilled Duration: {billed} ms\t\
                 Memory Size: {size} MB\tMax Memory Used: {used} MB\t\n"
            );
            let line = if parted_by_spaces { line.replace('\t', " ") } else { line };
            let facts = parse(&line).unwrap();
            prop_assert_eq!(facts.duration_ms, duration_ms);
            prop_assert_eq!((facts.billed_ms, facts.memory_mb, facts.memory_used_mb), (Some(billed), Some(size), Some(used)));
        }
    }
}
