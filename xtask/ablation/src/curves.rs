//! The curves of the section as SVG.

use plotters::prelude::*;

use crate::results::{RecipeCurves, Results};

const SIZE: (u32, u32) = (760, 380);

/// Readable on white, told apart by people who see colours differently (Okabe and Ito), and grey.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(150, 150, 150),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// One arm in a picture.
struct Line {
    label: &'static str,
    colour: RGBColor,
    /// Updates, and the mean over the seeds.
    mean: Vec<(f64, f64)>,
    /// Updates, lowest and highest seed.
    spread: Vec<(f64, f64, f64)>,
}

/// Accuracy on a benchmark against updates: means over the seeds, with bars from the lowest to the highest.
pub(crate) fn accuracy(results: &Results, benchmark: &str, title: &str) -> Result<String, String> {
    let lines = lines(results, |curves| curves.accuracy.get(benchmark).map_or(&[], Vec::as_slice));
    draw(title, &lines)
}

/// Share of the sampled answers that read the scene first, smoothed over five steps.
pub(crate) fn reading(results: &Results, title: &str) -> Result<String, String> {
    let mut lines = lines(results, |curves| &curves.reading);
    for line in &mut lines {
        line.spread.clear();
        let raw = line.mean.clone();
        for (i, point) in line.mean.iter_mut().enumerate() {
            let window = &raw[i.saturating_sub(2)..(i + 3).min(raw.len())];
            point.1 = window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64;
        }
    }
    draw(title, &lines)
}

/// In percent. All points of a line are means over the same seeds, those with the most points.
fn lines<'a>(results: &'a Results, of: impl Fn(&'a RecipeCurves) -> &'a [Vec<(f64, f64)>]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (curves, &colour) in results.curves.iter().zip(COLOURS.iter().cycle()) {
        let most = of(curves).iter().map(Vec::len).max().unwrap_or(0);
        let seeds: Vec<_> = of(curves).iter().filter(|seed| seed.len() == most).collect();
        let Some(&first) = seeds.first() else { continue };
        let mut line = Line { label: curves.arm.label, colour, mean: Vec::new(), spread: Vec::new() };
        for &(x, _) in first {
            let at =
                |seed: &&Vec<(f64, f64)>| seed.iter().find(|point| point.0 == x).map(|point| 100.0 * point.1);
            let Some(values) = seeds.iter().map(at).collect::<Option<Vec<f64>>>() else { continue };
            line.mean.push((x, values.iter().sum::<f64>() / values.len() as f64));
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            line.spread.push((x, low, high));
        }
        lines.push(line);
    }
    lines
}

fn draw(title: &str, lines: &[Line]) -> Result<String, String> {
    let last = lines.iter().flat_map(|line| &line.mean).map(|p| p.0).fold(1.0, f64::max);
    let bars = || lines.iter().flat_map(|line| &line.spread);
    let means = || lines.iter().flat_map(|line| &line.mean).map(|p| p.1);
    let low = means().chain(bars().map(|bar| bar.1)).fold(100.0, f64::min);
    let high = means().chain(bars().map(|bar| bar.2)).fold(0.0, f64::max);
    let margin = ((high - low) * 0.08).max(1.0);

    let mut svg = String::new();
    let fail = |error: &dyn std::fmt::Display| error.to_string();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|e| fail(&e))?;
        // Room for the legend to the right of the last step.
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..last * 1.3, (low - margin).max(0.0)..(high + margin).min(100.0))
            .map_err(|e| fail(&e))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(RGBColor(120, 120, 120))
            .label_style(("sans-serif", 12))
            .x_desc("updates")
            .x_label_formatter(&|x| if *x > last { String::new() } else { format!("{x:.0}") })
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()
            .map_err(|e| fail(&e))?;
        for (i, line) in lines.iter().enumerate() {
            let bold = line.colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(line.mean.iter().copied(), bold))
                .map_err(|e| fail(&e))?
                .label(line.label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], bold));
            // Side by side, so that bars of different arms can be told apart.
            let aside = last * 0.003 * (i as f64 - lines.len() as f64 / 2.0);
            let bars = line.spread.iter().map(|&(x, low, high)| {
                PathElement::new([(x + aside, low), (x + aside, high)], line.colour.stroke_width(1))
            });
            chart.draw_series(bars).map_err(|e| fail(&e))?;
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 12))
            .position(SeriesLabelPosition::MiddleRight)
            .draw()
            .map_err(|e| fail(&e))?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(svg)
}
