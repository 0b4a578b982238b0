//! The data sets of a recipe, each read when it is first asked for.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    rc::Rc,
};

use reft_config::{DataConfig, PromptConfig, Recipe};
use reft_core::SampleId;
use reft_data::{DataError, OpenData};

use crate::{Error, hub};

/// Data sets that were read. A clone shares them: what trains and what shows read nothing twice.
#[derive(Clone, Debug)]
pub(crate) struct OpenSets {
    data: Rc<BTreeMap<String, DataConfig>>,
    prompt: Rc<PromptConfig>,
    read: Rc<RefCell<BTreeMap<String, Rc<OpenData>>>>,
}

impl OpenSets {
    /// Those of a recipe, none of them read.
    pub(crate) fn of(recipe: &Recipe) -> Self {
        Self {
            data: Rc::new(recipe.data.clone()),
            prompt: Rc::new(recipe.prompt.clone()),
            read: Rc::default(),
        }
    }

    /// The data set as it is on disk, but for what is left out.
    pub(crate) fn get(&self, name: &str) -> Result<Rc<OpenData>, DataError> {
        if let Some(open) = self.read.borrow().get(name) {
            return Ok(Rc::clone(open));
        }
        let open = Rc::new(OpenData::named(name, &self.local()?, &self.prompt)?);
        self.read.borrow_mut().insert(name.to_owned(), Rc::clone(&open));
        Ok(open)
    }

    /// The data sets, those of the hub fetched.
    fn local(&self) -> Result<BTreeMap<String, DataConfig>, DataError> {
        let mut data = (*self.data).clone();
        for set in data.values_mut() {
            if let DataConfig::File(file) = set {
                let failed = |error: Error| DataError::Io {
                    action: "read",
                    path: file.path.clone(),
                    source: io::Error::other(error.to_string()),
                };
                *file = hub::fetched_file(file).map_err(failed)?;
            }
        }
        Ok(data)
    }

    /// From now on the data set is without these samples.
    pub(crate) fn leave_out(&self, name: &str, samples: &BTreeSet<SampleId>) -> Result<(), DataError> {
        let rest = Rc::new(self.get(name)?.without(samples));
        self.read.borrow_mut().insert(name.to_owned(), rest);
        Ok(())
    }
}
