//! What a browser does with the explorer's page.

use serde_json::json;

use super::browser::Browser;

impl Browser {
    /// Opens the page, and waits until the model has read the text.
    pub fn explore(&mut self, page: &str) {
        self.open(page, "typeof window.explorer === 'object'");
        self.value("explorer.ready");
        self.check_requests();
    }

    /// Puts this text into the page and waits until it is read.
    pub fn read(&mut self, text: &str) {
        let text = json!(text);
        self.value(&format!(
            "(explorer.text.value = {text}, explorer.reread(), explorer.work())"
        ));
    }
}
