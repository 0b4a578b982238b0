//! Curves of a run's metrics as SVG.
//!
//! All training phases stand on one axis of steps, one after another, each in its own colour.
//! A step's value is a thin line; the bold line is a mean over a window of a twentieth of the phase, centred.

use plotters::prelude::*;
use reft_store::MetricRow;

use crate::Error;

/// What is drawn, in order: metric, title.
const DRAWN: [(&str, &str); 12] = [
    ("reward/mean", "Mean reward"),
    ("reward/accuracy", "Accuracy reward"),
    ("reward/format", "Format reward"),
    ("accuracy/detection", "Accuracy reward, detection"),
    ("accuracy/classify", "Accuracy reward, classification"),
    ("accuracy/math", "Accuracy reward, mathematics"),
    ("groups/mixed", "Share of groups with right and wrong answers"),
    ("grpo/kl", "KL to the phase's start policy"),
    ("grpo/grad_norm", "Gradient norm (GRPO)"),
    ("sft/loss", "Loss (SFT)"),
    ("completion/length_mean", "Mean completion length, tokens"),
    ("completion/truncated", "Share of completions cut by the length limit"),
];

const SIZE: (u32, u32) = (720, 300);

/// Readable on white, told apart by people who see colours differently (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// One metric over the run.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The metric's name.
    pub metric: String,
    /// A title for people.
    pub title: String,
    /// The picture.
    pub svg: String,
}

/// One phase's part of a curve.
struct Line<'a> {
    phase: &'a str,
    points: Vec<(f64, f64)>,
}

/// A curve for every drawn metric that the run has.
pub(super) fn of(rows: &[MetricRow]) -> Result<Vec<Curve>, Error> {
    let mut curves = Vec::new();
    for (metric, title) in DRAWN {
        let lines = lines(rows, metric);
        // A single point is no curve.
        if lines.iter().any(|line| line.points.len() > 1) {
            let svg = draw(title, &lines).map_err(|message| Error::File {
                path: format!("{metric}.svg").into(),
                message: format!("cannot be drawn: {message}"),
            })?;
            curves.push(Curve { metric: metric.to_owned(), title: title.to_owned(), svg });
        }
    }
    Ok(curves)
}

/// The values of a metric, phase after phase on one axis.
fn lines<'a>(rows: &'a [MetricRow], metric: &str) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    let mut offset = 0.0;
    let mut end = 0.0;
    for row in rows {
        let Some(value) = row.metrics.get(metric) else { continue };
        if lines.last().is_none_or(|line| line.phase != row.phase) {
            offset = end;
            lines.push(Line { phase: &row.phase, points: Vec::new() });
        }
        end = offset + row.step as f64;
        if let Some(line) = lines.last_mut() {
            line.points.push((end, value));
        }
    }
    lines
}

fn draw(title: &str, lines: &[Line<'_>]) -> Result<String, String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let (low, high) =
        points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p.1), high.max(p.1)));
    let margin = ((high - low) * 0.08).max(high.abs() * 0.01).max(1e-6);
    // Shares and rewards start at 0 unless that would flatten the curve.
    let floor = if low >= 0.0 && low < high / 2.0 { 0.0 } else { low - margin };

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let fail = |error: &dyn std::fmt::Display| error.to_string();
        area.fill(&WHITE).map_err(|e| fail(&e))?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..last, floor..high + margin)
            .map_err(|e| fail(&e))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(RGBColor(120, 120, 120))
            .label_style(("sans-serif", 12))
            .x_desc("step")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| tick(*y))
            .draw()
            .map_err(|e| fail(&e))?;
        for (line, &colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.mix(0.3)))
                .map_err(|e| fail(&e))?;
            let bold = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(smooth(&line.points), bold))
                .map_err(|e| fail(&e))?
                .label(line.phase)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], bold));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 12))
            .position(SeriesLabelPosition::LowerRight)
            .draw()
            .map_err(|e| fail(&e))?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(svg)
}

/// The mean over a centred window of a twentieth of the points, at least 3.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = (points.len() / 40).max(1);
    (0..points.len())
        .map(|i| {
            let window = &points[i.saturating_sub(half)..(i + half + 1).min(points.len())];
            let mean = window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64;
            (points[i].0, mean)
        })
        .collect()
}

fn tick(value: f64) -> String {
    match value.abs() {
        size if size >= 10.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use reft_core::Metrics;

    use super::*;

    fn rows(phases: &[(&str, &[f64])]) -> Vec<MetricRow> {
        let rows = phases.iter().flat_map(|(phase, values)| {
            values.iter().enumerate().map(|(i, &value)| {
                let mut metrics = Metrics::new();
                metrics.set("reward/mean", value);
                MetricRow { phase: (*phase).to_owned(), step: i as u64 + 1, metrics }
            })
        });
        rows.collect()
    }

    #[test]
    fn phases_follow_each_other() {
        let rows = rows(&[("a", &[0.0, 1.0]), ("b", &[5.0])]);
        let lines = lines(&rows, "reward/mean");
        assert_eq!(lines[0].points, [(1.0, 0.0), (2.0, 1.0)]);
        assert_eq!(lines[1].points, [(3.0, 5.0)]);
    }

    #[test]
    fn smoothing_by_hand() {
        let points = [(1.0, 0.0), (2.0, 3.0), (3.0, 0.0), (4.0, 3.0)];
        let values: Vec<f64> = smooth(&points).iter().map(|p| p.1).collect();
        assert_eq!(values, [1.5, 1.0, 2.0, 1.5]);
    }

    #[test]
    fn curves_are_drawn_for_what_there_is() {
        let curves = of(&rows(&[("binary", &[0.2, 0.5, 0.4]), ("open <&>", &[0.5, 0.5])])).unwrap();
        assert_eq!(curves.len(), 1);
        let svg = &curves[0].svg;
        assert!(svg.starts_with("<svg") && svg.contains("Mean reward") && svg.contains("binary"), "{svg}");
        assert!(svg.contains("open &lt;&amp;&gt;"), "{svg}");
        // Equal values and a single step must not divide by zero.
        assert_eq!(of(&rows(&[("flat", &[0.0, 0.0])])).unwrap().len(), 1);
        assert_eq!(of(&rows(&[("short", &[1.0])])).unwrap().len(), 0);
    }
}
