//! Text and its way into batches: corpora, vocabulary, windows.
