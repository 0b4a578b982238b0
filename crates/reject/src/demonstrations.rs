//! From kept answers to what supervised fine-tuning trains on.

use std::{collections::HashMap, sync::Arc};

use reft_core::{Demonstration, JudgedGroup, KeptAnswer, Sample, SampleId, Verdict};

use crate::RejectError;

/// The kept answers as demonstrations, in the order of the questions.
pub fn demonstrations(groups: &[(JudgedGroup, Vec<Verdict>)]) -> Vec<Demonstration> {
    let of_group = |(judged, verdicts): &(JudgedGroup, Vec<Verdict>)| {
        let kept =
            judged.group.completions.iter().zip(verdicts).filter(|(_, verdict)| **verdict == Verdict::Admit);
        kept.map(|(completion, _)| Demonstration {
            sample: Arc::clone(&judged.group.sample),
            completion: completion.text.clone(),
        })
        .collect::<Vec<_>>()
    };
    groups.iter().flat_map(of_group).collect()
}

/// Kept answers that were stored, put back together with their questions.
pub fn from_kept(kept: &[KeptAnswer], samples: &[Arc<Sample>]) -> Result<Vec<Demonstration>, RejectError> {
    let by_id: HashMap<&SampleId, &Arc<Sample>> = samples.iter().map(|sample| (&sample.id, sample)).collect();
    kept.iter()
        .map(|answer| {
            let sample = by_id
                .get(&answer.sample)
                .ok_or_else(|| RejectError::UnknownSample { sample: answer.sample.to_string() })?;
            Ok(Demonstration { sample: Arc::clone(sample), completion: answer.completion.clone() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use reft_core::{Completion, Group, Judgement};
    use reft_testkit::sums;

    use super::*;

    #[test]
    fn kept_answers_become_demonstrations() {
        let samples = sums(2);
        let group = |index: usize, texts: [&str; 2]| JudgedGroup {
            group: Group {
                sample: Arc::clone(&samples[index]),
                prompt_tokens: 0,
                completions: texts.map(Completion::from_text).into(),
                policy_version: None,
                temperature: None,
            },
            judgements: vec![Judgement { score: 90.0, reason: String::new() }; 2],
        };
        let reject = || Verdict::Reject { reason: "not_best".into() };
        let groups = [
            (group(0, ["a", "b"]), vec![reject(), Verdict::Admit]),
            (group(1, ["c", "d"]), vec![reject(), reject()]),
        ];
        let made = demonstrations(&groups);
        assert_eq!(made, [Demonstration { sample: Arc::clone(&samples[0]), completion: "b".into() }]);

        let stored = KeptAnswer {
            sample: samples[0].id.clone(),
            completion: "b".into(),
            score: 90.0,
            reason: String::new(),
        };
        assert_eq!(from_kept(std::slice::from_ref(&stored), &samples).unwrap(), made);
        let error = from_kept(&[stored], &samples[1..]).unwrap_err().to_string();
        assert!(error.contains(samples[0].id.as_str()), "{error}");
    }
}
