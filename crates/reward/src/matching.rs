//! Many boxes against many boxes: the best one-to-one matching, and average precision.
//!
//! The matching is the assignment with the largest total weight (Kuhn 1955, Munkres 1957), so neither the order of the
//! boxes nor a greedy choice decides. Average precision is that of COCO: answered boxes in order of confidence, each
//! taking the best free right box of its label, precision made monotone and averaged over the right boxes (all-point
//! interpolation).

use pathfinding::{kuhn_munkres::kuhn_munkres, matrix::Matrix};

use crate::FoundBox;

/// Parts of an IoU that weights tell apart: weights are whole numbers, so that sums are exact.
const STEPS: f64 = 1e9;
/// Thresholds of COCO's mean average precision.
const COCO: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// What may match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Matches need a larger IoU than this.
    pub(crate) above: f64,
    /// Matches need equal labels.
    pub(crate) labels: bool,
}

impl Rule {
    /// The IoU of a pair that may match.
    fn overlap(self, right: &FoundBox, given: &FoundBox) -> Option<f64> {
        let labels_agree = !self.labels || right.label == given.label;
        let iou = right.bbox.iou(&given.bbox);
        (labels_agree && iou > self.above).then_some(iou)
    }
}

/// Overlaps of the matched pairs: as many pairs as possible first, then the largest sum of overlaps.
pub(crate) fn matched(right: &[FoundBox], given: &[FoundBox], rule: Rule) -> Vec<f64> {
    // One pair more outweighs any sum of overlaps, which is at most the number of pairs.
    let pair = (right.len().min(given.len()) as f64 + 1.0) * STEPS;
    assignment(right, given, |right, given| rule.overlap(right, given).map(|iou| pair + iou * STEPS))
}

/// Overlaps of the pairs with the largest sum of overlaps, of any size above 0.
pub(crate) fn overlaps(right: &[FoundBox], given: &[FoundBox], labels: bool) -> Vec<f64> {
    let rule = Rule { above: 0.0, labels };
    assignment(right, given, |right, given| rule.overlap(right, given).map(|iou| iou * STEPS))
}

fn assignment(
    right: &[FoundBox],
    given: &[FoundBox],
    weight: impl Fn(&FoundBox, &FoundBox) -> Option<f64>,
) -> Vec<f64> {
    let (fewer, more) = if right.len() <= given.len() { (right, given) } else { (given, right) };
    if fewer.is_empty() {
        return Vec::new();
    }
    let weights = Matrix::from_fn(fewer.len(), more.len(), |(i, j)| {
        weight(&fewer[i], &more[j]).map_or(0, |weight| weight.round() as i64)
    });
    let (_, places) = kuhn_munkres(&weights);
    let pairs = places.iter().enumerate().filter(|&(i, &j)| weights[(i, j)] > 0);
    pairs.map(|(i, &j)| fewer[i].bbox.iou(&more[j].bbox)).collect()
}

/// Average precision at one threshold, averaged over the labels of the right boxes.
pub(crate) fn average_precision(right: &[FoundBox], given: &[FoundBox], rule: Rule) -> f64 {
    let mut labels: Vec<Option<&str>> =
        right.iter().map(|found| found.label.as_deref().filter(|_| rule.labels)).collect();
    labels.sort_unstable();
    labels.dedup();
    let of_label = |label: Option<&str>| {
        let has = |found: &&FoundBox| !rule.labels || found.label.as_deref() == label;
        let right: Vec<&FoundBox> = right.iter().filter(has).collect();
        let given: Vec<&FoundBox> = given.iter().filter(has).collect();
        one_label(&right, given, rule.above)
    };
    labels.iter().map(|&label| of_label(label)).sum::<f64>() / labels.len().max(1) as f64
}

/// [`average_precision`] averaged over the thresholds of COCO.
pub(crate) fn coco(right: &[FoundBox], given: &[FoundBox], labels: bool) -> f64 {
    let at = |&above: &f64| average_precision(right, given, Rule { above, labels });
    COCO.iter().map(at).sum::<f64>() / COCO.len() as f64
}

fn one_label(right: &[&FoundBox], mut given: Vec<&FoundBox>, above: f64) -> f64 {
    // A stable sort: without confidences, the order of the answer is the order of confidence.
    let confidence = |found: &FoundBox| found.confidence.unwrap_or(f64::NEG_INFINITY);
    given.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
    let mut free: Vec<&FoundBox> = right.to_vec();
    // Precision at each hit. Boxes after the last hit change nothing, as in COCO.
    let mut precisions = Vec::new();
    for (seen, found) in given.iter().enumerate() {
        let overlaps = free.iter().enumerate().map(|(index, right)| (index, right.bbox.iou(&found.bbox)));
        let best = overlaps.max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((index, iou)) = best
            && iou > above
        {
            free.swap_remove(index);
            precisions.push((precisions.len() + 1) as f64 / (seen + 1) as f64);
        }
    }
    let mut best = 0.0_f64;
    let mut sum = 0.0;
    for precision in precisions.iter().rev() {
        best = best.max(*precision);
        sum += best;
    }
    sum / right.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_boxes;

    fn read(text: &str) -> Vec<FoundBox> {
        parse_boxes(text).unwrap()
    }

    const HALF: Rule = Rule { above: 0.5, labels: false };

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-9, "{got}, not {expected}");
    }

    #[test]
    fn the_matching_is_the_best_one_not_a_greedy_one() {
        // IoU: a1 = 0.8, a2 = 0.6, b1 = 0.7, b2 = 0. Greedy takes a1 and leaves b alone; the best takes a2 and b1.
        let right = read("[[0, 0, 10, 10], [0, 0, 10, 5.6]]");
        let given = read("[[0, 0, 10, 8], [0, 4, 10, 10]]");
        let ious = |a: usize, b: usize| right[a].bbox.iou(&given[b].bbox);
        close(ious(0, 0), 0.8);
        close(ious(0, 1), 0.6);
        close(ious(1, 0), 0.7);
        let pairs = matched(&right, &given, HALF);
        assert_eq!(pairs.len(), 2);
        close(pairs.iter().sum(), 1.3);
        // Order does not matter.
        let (right, given): (Vec<_>, Vec<_>) =
            (right.into_iter().rev().collect(), given.into_iter().rev().collect());
        close(matched(&right, &given, HALF).iter().sum(), 1.3);
    }

    #[test]
    fn more_pairs_come_before_larger_overlaps() {
        // One pair of 1.0, or two of 0.55: two are more.
        let right = read("[[0, 0, 100, 100], [0, 0, 100, 55]]");
        let given = read("[[0, 0, 100, 100], [0, 45, 100, 100]]");
        assert_eq!(matched(&right, &given, HALF).len(), 2);
        // By overlap alone as well: 0.55 + 0.55 is more than 1.
        close(overlaps(&right, &given, false).iter().sum(), 1.1);
    }

    #[test]
    fn labels_must_agree_where_they_count() {
        let right = read(r#"[{"bbox_2d": [0, 0, 2, 2], "label": "cat"}]"#);
        let other = read(r#"[{"bbox_2d": [0, 0, 2, 2], "label": "dog"}]"#);
        let labels = Rule { labels: true, ..HALF };
        assert!(matched(&right, &other, labels).is_empty());
        assert_eq!(matched(&right, &other, HALF), [1.0]);
        assert_eq!(average_precision(&right, &other, labels), 0.0);
        assert_eq!(average_precision(&right, &right, labels), 1.0);
    }

    #[test]
    fn average_precision_by_hand() {
        let right = read("[[0, 0, 2, 2], [10, 0, 12, 2]]");
        // Hit, miss, hit: precisions 1 and 2/3, over two right boxes.
        let given = read(
            r#"[{"bbox_2d": [10, 0, 12, 2], "score": 0.2}, {"bbox_2d": [5, 5, 6, 6], "score": 0.5}, {"bbox_2d": [0, 0, 2, 2], "score": 0.9}]"#,
        );
        close(average_precision(&right, &given, HALF), 5.0 / 6.0);
        // The same box twice is a hit and a miss: precision 1, recall one half.
        close(average_precision(&right, &read("[[0, 0, 2, 2], [0, 0, 2, 2]]"), HALF), 0.5);
        // Miss, hit, hit: made monotone, both hits have 2/3.
        let given = read("[[5, 5, 6, 6], [0, 0, 2, 2], [10, 0, 12, 2]]");
        close(average_precision(&right, &given, HALF), 2.0 / 3.0);
        // IoU 0.8 counts at 0.5, .. 0.75 (six thresholds; 0.8 is not above 0.8).
        let right = read("[[0, 0, 10, 10]]");
        close(coco(&right, &read("[[0, 0, 10, 8]]"), false), 0.6);
    }

    #[test]
    fn a_hundred_boxes_are_quick() {
        let many = |shift: f64| {
            let boxes = (0..100).map(|i| {
                let (x, y) = (f64::from(i % 10) * 7.0 + shift, f64::from(i / 10) * 7.0);
                format!("[{x}, {y}, {}, {}]", x + 10.0, y + 10.0)
            });
            read(&format!("[{}]", boxes.collect::<Vec<_>>().join(", ")))
        };
        let start = cpu_time::ThreadTime::now();
        assert_eq!(matched(&many(0.0), &many(1.0), HALF).len(), 100);
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
