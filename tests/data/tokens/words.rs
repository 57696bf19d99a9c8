//! Words of descriptions.

use super::bars;
use rnnx::data::tokens::Tokenizer;

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(bars(&Tokenizer::Words.split(text)), expected, "{text}");
}

#[test]
fn names_and_numbers_are_whole_and_punctuation_is_apart() {
    check(
        "call self._cache.get(key_1, 2.75);",
        "call|self|.|_cache|.|get|(|key_1|,|2.75|)|;",
    );
    check("x.1 1. 0x1F 3.10.2 5a", "x|.|1|1|.|0x1F|3.10.2|5a");
    check(
        "naïve 数据 cafe\u{301} a\u{200b}b 🦀!",
        "naïve|数据|cafe\u{301}|a|\u{200b}|b|🦀|!",
    );
    check("", "");
    check(" \n\t", "");
    check("<NEWLINE> -> != %s", "<|NEWLINE|>|-|>|!|=|%|s");
}

#[test]
fn strings_are_whole_spaced_out_or_not() {
    check(
        "raise the string ' unexpected call to parse_starttag ( ) ' ,",
        "raise|the|string|' unexpected call to parse_starttag ( ) '|,",
    );
    check(
        "with \"Base36 input too large\" as argument .",
        "with|\"Base36 input too large\"|as|argument|.",
    );
    check(
        "string \" You must define a '%s' cache \" , with '%s' replaced",
        "string|\" You must define a '%s' cache \"|,|with|'%s'|replaced",
    );
    check("f('a', \"b\")='c'", "f|(|'a'|,|\"b\"|)|=|'c'");
    check("empty '' and \"\" .", "empty|''|and|\"\"|.");
    check(
        "raw r'\\d+' , Rb\" x \" , u 'y'",
        "raw|r'\\d+'|,|Rb\" x \"|,|u|'y'",
    );
    check("'\\' ' and '\\\\' .", "'\\' '|and|'\\\\'|.");
    check("'''a 'b' c''' d", "'''a 'b' c'''|d");
    check("'d' or 's' , 't.' x", "'d'|or|'s'|,|'t.'|x");
}

#[test]
fn apostrophes_open_no_string() {
    check("self 's value is 'a' .", "self|'s|value|is|'a'|.");
    check(
        "the node's parent, the nodes' children",
        "the|node|'s|parent|,|the|nodes|'|children",
    );
    check(
        "it doesn't and can't, isn't.",
        "it|doesn't|and|can't|,|isn't|.",
    );
    check(
        "they 're done , we'll see 'x'",
        "they|'re|done|,|we|'ll|see|'x'",
    );
    check("instances ' value", "instances|'|value");
    check("the 'value", "the|'|value");
    check("f(x)'y' a'b'", "f|(|x|)|'|y|'|a|'|b|'");
    check("t's and u's 'z'", "t|'s|and|u|'s|'z'");
    check("don't 'quote don't'", "don't|'quote don't'");
}
