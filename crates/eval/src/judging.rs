//! The judge that a grader may ask, and prompts put together.

use reft_core::{Reason, StageError};

/// What stands in a reply where a server did not answer; VLMEvalKit asks again then.
pub(crate) const NO_REPLY: &str = "Failed to obtain answer via API";

/// A prompt with its `{names}` replaced, in one pass, so that marks inside the texts stay text.
pub(crate) fn fill(template: &str, texts: &[(&str, &str)]) -> String {
    let mut filled =
        String::with_capacity(template.len() + texts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let named = texts
            .iter()
            .find(|(name, _)| rest[1..].strip_prefix(name).is_some_and(|after| after.starts_with('}')));
        if let Some((name, text)) = named {
            filled.push_str(text);
            rest = &rest[name.len() + 2..];
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}

/// A model that answers the prompts of graders. The judge of rejection sampling, [`reft_core::Judge`], marks completions
/// instead.
pub trait JudgeModel: Send + Sync {
    /// The reply to a prompt. `attempt` counts from 0; a judge that draws its replies draws another one.
    fn reply(&self, prompt: &str, attempt: usize) -> Result<String, StageError>;
}

/// A judge, if there is one, and what it was asked about one answer.
pub struct Asked<'a> {
    judge: Option<&'a dyn JudgeModel>,
    replies: Vec<String>,
}

impl<'a> Asked<'a> {
    /// Nothing asked yet.
    pub fn new(judge: Option<&'a dyn JudgeModel>) -> Self {
        Self { judge, replies: Vec::new() }
    }

    /// Asks until `read` can use a reply, `tries` times at most.
    ///
    /// The first is what `read` made of the reply; none where there is no judge or no reply could be used, which the reason
    /// tells apart.
    pub(crate) fn until<T>(
        &mut self,
        prompt: &str,
        tries: usize,
        mut read: impl FnMut(&str) -> Option<T>,
    ) -> Result<Result<T, Reason>, StageError> {
        let Some(judge) = self.judge else { return Ok(Err(Reason::NoJudge)) };
        for attempt in 0..tries {
            let reply = judge.reply(prompt, attempt)?;
            let found = read(&reply);
            self.replies.push(reply);
            if let Some(found) = found {
                return Ok(Ok(found));
            }
        }
        Ok(Err(Reason::Unjudged))
    }

    /// The replies so far, taken out.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.replies)
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn texts_are_not_searched() {
        assert_eq!(fill("{a}+{b}={c}{", &[("a", "{b}"), ("b", "2")]), "{b}+2={c}{");
    }
}
