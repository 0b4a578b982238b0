//! What Prometheus asks for.

use prometheus::{
    Encoder as _, Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// Counters and gauges of a server.
pub(crate) struct Metrics {
    registry: Registry,
    /// By route and status.
    pub(crate) requests: IntCounterVec,
    pub(crate) prompt_tokens: IntCounter,
    pub(crate) completion_tokens: IntCounter,
    pub(crate) waiting: IntGauge,
    pub(crate) running: IntGauge,
    pub(crate) room: IntGauge,
    pub(crate) prompts_read: IntCounter,
    pub(crate) prompts_found: IntCounter,
    /// Seconds from the request to the first token.
    pub(crate) first_token: Histogram,
    /// Seconds from the request to the end of its last answer.
    pub(crate) whole: Histogram,
}

/// Seconds, from a fast token to a slow picture.
const BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

impl Metrics {
    pub(crate) fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, Error>(gauge)
        };
        let histogram = |name: &str, help: &str| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, Error>(histogram)
        };
        let requests = Opts::new("reft_requests_total", "Requests that have ended.");
        let requests = IntCounterVec::new(requests, &["route", "status"])?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            requests,
            prompt_tokens: counter("reft_prompt_tokens_total", "Tokens of prompts that were answered.")?,
            completion_tokens: counter("reft_completion_tokens_total", "Tokens that were written.")?,
            waiting: gauge("reft_requests_waiting", "Requests that wait for room.")?,
            running: gauge("reft_answers_running", "Answers that are being written.")?,
            room: gauge("reft_answers_room", "Answers that there is room for.")?,
            prompts_read: counter("reft_prompts_read_total", "Prompts that were read.")?,
            prompts_found: counter("reft_prompts_found_total", "Requests whose prompt was in the cache.")?,
            first_token: histogram("reft_first_token_seconds", "From a request to its first token.")?,
            whole: histogram("reft_request_seconds", "From a request to the end of its last answer.")?,
            registry,
        })
    }

    /// In Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        // Only a writer that fails makes it fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}
