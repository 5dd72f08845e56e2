//! `Server-Timing` (W3C), as far as it tells of a cold start: the metric `init` with its `dur` in milliseconds.

use http::HeaderMap;

const SERVER_TIMING: &str = "server-timing";
const INIT: &str = "init";
const DURATION: &str = "dur";

/// How long the target says that its init took; `None` where it says nothing of one. An init without a duration took 0 ms.
pub(super) fn init_ms(headers: &HeaderMap) -> Option<f64> {
    headers
        .get_all(SERVER_TIMING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split(value, ','))
        .find_map(init_of_metric)
}

fn init_of_metric(metric: &str) -> Option<f64> {
    let mut parts = split(metric, ';');
    if !parts.next()?.trim().eq_ignore_ascii_case(INIT) {
        return None;
    }
    let duration = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case(DURATION).then(|| value.trim().trim_matches('"'))
    });
    let Some(duration) = duration else { return Some(0.0) };
    duration.parse().ok().filter(|milliseconds: &f64| milliseconds.is_finite() && *milliseconds >= 0.0)
}

/// The parts between separators that stand outside of quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |letter| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        match letter {
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        letter == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_is_found_among_other_metrics_however_it_is_written() {
        for (values, expected) in [
            (&["init;dur=123.4"][..], Some(123.4)),
            (&["db;dur=53, init;dur=7;desc=\"cold\", app;dur=47.2"], Some(7.0)),
            (&["cache", "Init ; DUR = \"9\""], Some(9.0)),
            (&["app;desc=\"a, init;dur=1 \\\" ;\"", "init;desc=\"x;dur=2\";dur=3"], Some(3.0)),
            (&["init"], Some(0.0)),
            (&["init;dur=0"], Some(0.0)),
            (&["init;dur=-1"], None),
            (&["init;dur=NaN"], None),
            (&["init;dur=inf"], None),
            (&["init;dur=soon"], None),
            (&["initial;dur=5, re-init;dur=6"], None),
            (&["\"init;dur=5"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(SERVER_TIMING, value.parse().unwrap());
            }
            assert_eq!(init_ms(&headers), expected, "{values:?}");
        }
    }
}
