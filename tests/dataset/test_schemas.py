"""The schemas of well-known datasets of the Hub, read without any option.

Each row of the tables has the columns of a dataset with their types, and what must be read of it:
the columns, and words of the warnings or of the refusal. There are fewer rows and classes than in
the datasets themselves.
"""

from __future__ import annotations

import io
import random
import re

import numpy as np
import pytest

from hf_sfda import load_target
from hf_sfda.errors import TargetError

N = 60
WORDS = "the river house stone walks quickly under green old small never city people light".split()

TEXTS = """
imdb: text:T label:K2 -> text by label
ag_news: text:T label:K4 -> text by label
yelp_review_full: label:K5 text:T -> text by label
allocine: review:T label:K2 -> review by label
dbpedia_14: label:K5 title:T content:T -> content by label # not read: title
amazon_polarity: label:K2 title:T content:T -> content by label # not read: title
klue ynat: guid:I title:T label:K5 url:U date:D -> title by label
nsmc: id:I document:T label:K2 -> document by label
catalonia: id_str:I TWEET:T LABEL:K3 -> TWEET by LABEL
health tweets: tweet_id:I tweet_text:T toxic_votes:n4 is_toxic:K2 -> tweet_text by is_toxic
hate_speech18: text:T user_id:i subforum_id:n5 num_contexts:n4 label:K4 -> text by label
hate_speech_offensive: count:n4 hate_speech_count:n4 neither_count:n4 class:K3 tweet:T
    -> tweet by class
sms_spam: sms:T label:K2 -> sms by label
mteb banking77: text:T label:n5 label_text:N5 -> text by label
mteb massive: id:I label:N5 label_text:N5 text:T lang:N1 -> text by label
SetFit mnli: text1:T text2:T label:n3 idx:i label_text:N3 -> text1, text2 by label # pairs
silicone: Utterance:T Dialogue_Act:N4 Dialogue_ID:I Label:K4 Idx:i -> Utterance by Label
silicone iemocap: Dialogue_ID:I Utterance_ID:I Utterance:T Emotion:N4 Label:K4 Idx:i
    -> Utterance by Label
fever: id:i label:N3 claim:T evidence_id:i evidence_wiki_url:W
    -> claim by label # not read: evidence_wiki_url
climate_fever: claim_id:I claim:T claim_label:K4 evidences:obj -> claim by claim_label
scicite: string:T sectionName:N4 label:K3 citingPaperId:I excerpt_index:i isKeyCitation:b
    label2:K4 source:K3 label_confidence:x id:I
    -> string by label # classes, too: label2, source
massive: id:I locale:N1 partition:N1 scenario:K3 intent:K5 utt:T worker_id:I
    -> utt by intent # classes, too: scenario
swiss_judgment: id:i year:n5 text:T label:K2 language:N1 canton:N5 source_language:N2
    -> text by label
movie_rationales: review:T label:K2 evidences:LT -> review by label
sentiment140: text:T date:D user:I sentiment:n2 query:N1 -> text by sentiment
laroseda: index:I title:T content:T starRating:n4
    -> content by starRating # The whole numbers in 'starRating' are read as classes
SetFit enron_spam: message_id:i text:T label:n2 label_text:N2 subject:T message:T date:D
    -> text by label # not read: subject, message
tweet_topic_single: text:T date:D label:K5 label_name:N5 id:I -> text by label
glue cola: sentence:T label:K2 idx:i -> sentence by label
"""

PAIRS = """
glue mrpc: sentence1:T sentence2:T label:K2 idx:i -> sentence1, sentence2 by label # pairs
glue qqp: question1:T question2:T label:K2 idx:i -> question1, question2 by label # pairs
glue qnli: question:T sentence:T label:K2 idx:i -> question, sentence by label # pairs
glue mnli: premise:T hypothesis:T label:K3 idx:i -> premise, hypothesis by label # pairs
glue stsb: sentence1:T sentence2:T label:x idx:i
    -> sentence1, sentence2 by label, regression # pairs
stsb_multi_mt: sentence1:T sentence2:T similarity_score:x
    -> sentence1, sentence2 by similarity_score, regression # pairs
sentence-transformers stsb: sentence1:T sentence2:T score:x
    -> sentence1, sentence2 by score, regression # pairs
mteb sts: split:N1 genre:N4 dataset:N4 sid:I score:x sentence1:T sentence2:T
    -> refused # label: genre, dataset.* regression: score
multi_nli: promptID:i pairID:I premise:T premise_binary_parse:T premise_parse:T hypothesis:T
    hypothesis_binary_parse:T hypothesis_parse:T genre:N5 label:K3
    -> premise, hypothesis by label # pairs
hans: premise:T hypothesis:T label:K2 parse_premise:T parse_hypothesis:T binary_parse_premise:T
    heuristic:N3 subcase:N5
    -> premise, hypothesis by label # pairs
anli: uid:I premise:T hypothesis:T label:K3 reason:T
    -> refused # input: premise, hypothesis, reason.*such as premise,hypothesis
paws: id:i sentence1:T sentence2:T label:K2 -> sentence1, sentence2 by label # pairs
sick: id:I sentence_A:T sentence_B:T label:K3 relatedness_score:x entailment_AB:N3
    sentence_A_original:T sentence_B_original:T sentence_A_dataset:N2
    -> sentence_A, sentence_B by label # pairs
assin: sentence_pair_id:i premise:T hypothesis:T relatedness_score:x entailment_judgment:K3
    -> premise, hypothesis by entailment_judgment # pairs
boolq: question:T answer:b passage:T -> question, passage by answer # pairs
super_glue boolq: question:T passage:T idx:i label:K2 -> question, passage by label # pairs
super_glue wic: word:W sentence1:T sentence2:T start1:n5 end1:n5 idx:i label:K2
    -> sentence1, sentence2 by label # not read: word
clone detection: id:i id1:i id2:i func1:T func2:T label:b -> func1, func2 by label # pairs
hlgd: timeline_id:K5 headline_a:T headline_b:T date_a:D date_b:D url_a:U url_b:U label:K2
    -> headline_a, headline_b by label # classes, too: timeline_id
xtreme XNLI: language:N1 sentence1:T sentence2:T gold_label:N3
    -> sentence1, sentence2 by gold_label # pairs
x_stance: question:T id:i question_id:n5 language:N2 comment:T label:N2 author:I topic:N4
    -> refused # input: question, comment
mc_taco: sentence:T question:T answer:T label:K2 category:K5
    -> sentence by label # not read: question, answer
wiki_qa: question_id:I question:T document_title:T answer:T label:K2
    -> refused # input: question, document_title, answer
"""

SEVERAL_LABELS = """
trec: text:T coarse_label:K4 fine_label:K5
    -> refused # label: coarse_label, fine_label. .*--label-column
cifar100: img:img fine_label:K5 coarse_label:K3 -> refused # label: fine_label, coarse_label
fairface: image:img age:K5 gender:K2 race:K4 service_test:b -> refused # label: age, gender, race
wikiart: image:img artist:K5 genre:K4 style:K5 -> refused # label: artist, genre, style
go_emotions: text:T labels:LK5 id:I -> text by labels, multi-label
go_emotions raw: text:T id:I author:I created_utc:x rater_id:n5 example_very_unclear:b joy:n2
    love:n2
    -> refused # label: example_very_unclear, joy, love.*--task multi-label
sem_eval_2018: ID:I Tweet:T anger:b joy:b love:b
    -> refused # label: anger, joy, love.*--task multi-label
jigsaw: comment_text:T toxic:K2 obscene:K2 insult:K2
    -> refused # label: toxic, obscene, insult.*--task multi-label
civil_comments: text:T toxicity:x obscene:x threat:x
    -> refused # label: toxicity, obscene, threat. Pass
multi_eurlex: celex_id:I text:T labels:LK5 -> text by labels, multi-label
eurlex: celex_id:I title:T text:T eurovoc_concepts:LN5
    -> text by eurovoc_concepts, multi-label # not read: title
reuters21578: text:T text_type:N3 topics:LN5 places:LN4 old_id:I title:T
    -> refused # label: text_type, topics, places
cedr with genre: text:T source:K3 labels:LK5 -> text by labels, multi-label # classes, too: source
tags beside a class: text:T source:K3 topics:LK5 -> refused # label: source, topics
tags beside a name: text:T source:N3 topics:LN5 -> refused # label: source, topics
price beside a flag: text:T price:x sold:b -> text by sold # because its values repeat.*price
amazon reviews: rating:o title:T text:T asin:I verified_purchase:b helpful_vote:n5
    -> refused # label: verified_purchase, helpful_vote.* regression: rating
ham10000: image:img image_id:I lesion_id:I dx:N5 dx_type:N4 age:x sex:N2 localization:N5
    -> refused # label: dx, dx_type, sex, localization.* regression: age
bitext: flags:W instruction:T category:N3 intent:N5 response:T
    -> refused # label: category, intent
toxigen: text:T target_group:N4 intent:x toxicity_human:x predicted_author:N2 actual_method:N2
    -> refused # label: target_group, predicted_author, actual_method
femnist: image:img writer_id:N5 hsf_id:n4 character:K5 -> image by character
hyperpartisan_news: text:T title:T hyperpartisan:b url:U bias:K5
    -> text by bias # are declared. .*classes, too: hyperpartisan.*not read: title
category and sentiment: review:T category:N5 sentiment:N2
    -> review by category # by its name. .*classes, too: sentiment
celeba: image:img celeb_id:n5 bald:b smiling:b young:b
    -> refused # label: bald, smiling, young.*--task multi-label
"""

WORD_TAGS = """
conll2003: id:I tokens:words pos_tags:tagsK5 chunk_tags:tagsK4 ner_tags:tagsK3
    -> refused # tag for each word of 'tokens': pos_tags, chunk_tags, ner_tags
wnut_17: id:I tokens:words ner_tags:tagsK3 -> tokens by ner_tags, token
acronyms: id:I tokens:words labels:tagsK3 -> tokens by labels, token
wikiann: tokens:words ner_tags:tagsK3 langs:tagsN1 spans:LT -> tokens by ner_tags, token
turkish_ner: id:I tokens:words domain:K4 ner_tags:tagsK3 -> tokens by ner_tags, token
ontonotes5: tokens:words tags:tagsK5 -> tokens by tags, token
universal_dependencies: idx:I text:T tokens:words lemmas:tagsN5 upos:tagsK5 deprel:tagsN5
    -> refused # lemmas, upos, deprel
daily_dialog: dialog:turns act:tagsK3 emotion:tagsK4
    -> refused # label: act, emotion|looks like a label
mteb clustering: sentences:turns labels:tagsN4 -> refused # No column holds images, texts
"""

IMAGES = """
mnist: image:img label:K5 -> image by label
cifar10: img:img label:K5 -> img by label
beans: image_file_path:F image:img labels:K3 -> image by labels
oxford-iiit-pet: image:img label:K5 image_id:I label_cat_dog:K2
    -> image by label # classes, too: label_cat_dog
eurosat: image:img label:K5 filename:F -> image by label
scene_parse_150: image:img annotation:img scene_category:K5 -> image by scene_category
imagenet wds: __key__:I __url__:U cls:n5 jpg:img -> jpg by cls
hateful memes: id:i image:img text:T label:K2 -> image by label # Texts beside .* not read: text
vqa: image:img question:T answer:N3 -> image by answer # Texts beside .* not read: question
metashift: image_id:I image:img label:K4 context:N5 -> image by label
"""

SOUNDS = """
superb ks: file:F audio:aud label:K4 -> audio by label
speech_commands: file:F audio:aud label:K4 is_unknown:b speaker_id:I utterance_id:n3
    -> audio by label
gtzan: file:F audio:aud genre:K5 -> audio by genre
minds14 en-US: path:F audio:aud transcription:T english_transcription:T intent_class:K5
    lang_id:K1
    -> audio by intent_class
minds14 all: path:F audio:aud transcription:T intent_class:K5 lang_id:K4
    -> refused # label: intent_class, lang_id
esc50: filename:F fold:n5 target:n5 category:same_target esc10:b src_file:I take:N3 audio:aud
    -> audio by category # classes, too: esc10, take
urbansound8k: audio:aud slice_file_name:F fsID:i start:x end:x salience:n2 fold:n5 classID:n5
    class:same_classID
    -> audio by class
music_genres: audio:aud song_id:i genre_id:n5 genre:N5 -> audio by genre
AudioSet: video_id:I audio:aud labels:LN4 human_labels:LN5 -> audio by labels, multi-label
ravdess: audio:aud text:N2 labels:K5 speaker_id:N5 speaker_gender:N2 -> audio by labels
fleurs: id:i num_samples:i path:F audio:aud transcription:T gender:K3 lang_id:K4 language:N4
    -> refused # label: gender, lang_id
common_voice: client_id:I path:F audio:aud sentence:T up_votes:n3 down_votes:n2 age:N4 gender:N2
    locale:N1
    -> refused # label: up_votes, down_votes, age, gender
librispeech: file:F audio:aud text:T speaker_id:n5 chapter_id:n5 id:I
    -> refused # looks like a label
crema-d: audio:aud file:F actor_id:n5 emotion:N4 -> audio by emotion
"""

REFUSED = """
squad: id:I title:N5 context:T question:T answers:qa
    -> refused # records a row .*which are not read: answers
coco: image_id:i image:img width:n4 height:n1 objects:obj -> refused # looks like a label
coco by licence: image_id:i image:img licence:N3 objects:obj
    -> refused # records a row .*which are not read: objects
svhn full_numbers: image:img digits:qa -> refused # looks like a label
segmentation: pixel_values:img label:img -> refused # looks like a label
wikitext: text:T -> refused # looks like a label
cnn_dailymail: article:T highlights:T id:I -> refused # looks like a label
flickr30k: image:img caption:LT sentids:LI split:N3 img_id:I filename:F
    -> refused # looks like a label
atomic: event:T oEffect:LT oReact:LT split:N3 -> refused # looks like a label
tne: id:I text:T tokens:words -> refused # looks like a label
ids alone: tweet_id:I label:K2 -> refused # names of ids: tweet_id
multi_eurlex all: celex_id:I text:tr labels:LK5 -> refused # names of ids: celex_id
winogrande: sentence:T option1:T option2:T answer:places2 -> refused # Multiple choice
piqa: goal:T sol1:T sol2:T label:K2 -> refused # Multiple choice
copa: premise:T choice1:T choice2:T question:N2 idx:i label:K2 -> refused # Multiple choice
swag: sent1:T sent2:T startphrase:T ending0:T ending1:T ending2:T ending3:T label:K4
    -> refused # which text of ending0, ending1, ending2, ending3
cosmos_qa: id:I context:T question:T answer0:T answer1:T answer2:T answer3:T label:n4
    -> refused # Multiple choice
mmlu: question:T subject:N3 choices:LT4 answer:K4
    -> refused # which text of choices is right. Multiple choice
case_hold: context:T endings:LT5 label:K5 -> refused # Multiple choice
race: example_id:I article:T answer:letters4 question:T options:LT4 -> refused # Multiple choice
wsc: sentence:T pronoun:W candidates:LT2 label:K2 -> refused # Multiple choice
"""

TABLE = [
    line
    for table in (TEXTS, PAIRS, SEVERAL_LABELS, WORD_TAGS, IMAGES, SOUNDS, REFUSED)
    for line in table.strip().replace("\n    ", " ").splitlines()
]


def column(name, kind, columns, generator):
    """The feature and the values of a column of this kind."""
    from datasets import Audio, ClassLabel, Image, List, Value

    def text():
        return " ".join(generator.choices(WORDS, k=6)).capitalize() + f" {generator.random():.4f}."

    def each(make):
        return [make(i) for i in range(N)]

    kind, count = kind.rstrip("0123456789"), int(kind[-1]) if kind[-1].isdigit() else 0
    string, names = Value("string"), [f"{name[:6]}{i}" for i in range(count)]
    classes = ClassLabel(names=names) if count else None
    lengths = [2 + i % 4 for i in range(N)]  # of sentences
    if kind.startswith("same_"):
        return string, [f"class {value}" for value in columns[kind.removeprefix("same_")][1]]
    match kind:
        case "T":  # texts
            return string, each(lambda i: text())
        case "W":  # single words
            return string, each(lambda i: generator.choice(WORDS) + chr(97 + i % 26))
        case "I" | "F" | "U":  # ids, files, addresses
            pattern = {"I": "x{}a", "F": "audio/x{}.wav", "U": "https://a.example/{}"}[kind]
            return string, each(pattern.format)
        case "D":  # dates
            return string, each(lambda i: f"2020-01-{1 + i % 28:02} 10:{i:02}")
        case "N" | "n" | "K":  # names, numbers, declared classes
            values = each(lambda i: generator.randrange(count))
            kinds = {"N": string, "n": Value("int64"), "K": classes}
            return kinds[kind], [names[v] for v in values] if kind == "N" else values
        case "letters" | "places":  # of choices
            return string, each(lambda i: ("ABCD" if kind == "letters" else "1234")[i % count])
        case "i":
            return Value("int32"), each(lambda i: i)
        case "x" | "o":  # fractions, whole numbers
            return Value("float32"), each(lambda i: i / 7 if kind == "x" else i % 5)
        case "b":
            return Value("bool"), each(lambda i: generator.random() < 0.5)
        case "LK":
            return List(classes), each(lambda i: sorted({i % count, i * i % count}))
        case "LN" | "LI":
            return List(string), each(
                lambda i: [f"{name}{i % (count or N)}", name][: generator.choice((1, 2))]
            )
        case "LT":
            return List(string), each(lambda i: [text() for _ in range(count or 1 + i % 3)])
        case "words":
            return List(string), each(lambda i: generator.choices(WORDS, k=lengths[i]))
        case "turns":
            return List(string), each(lambda i: [text() for _ in range(lengths[i])])
        case "tagsK" | "tagsN":
            tags = [[generator.randrange(count) for _ in range(length)] for length in lengths]
            if kind == "tagsK":
                return List(classes), tags
            return List(string), [[names[tag] for tag in row] for row in tags]
        case "obj":
            item = {"category": Value("int64"), "bbox": List(Value("float32"))}
            return List(item), each(lambda i: [{"category": i % 3, "bbox": [0.0, 1.0]}])
        case "qa":
            feature = {"text": List(string), "start": List(Value("int32"))}
            return feature, each(lambda i: {"text": [text()], "start": [i]})
        case "tr":
            return {"en": string, "de": string}, each(lambda i: {"en": text(), "de": text()})
        case "img":
            return Image(decode=False), each(lambda i: {"bytes": png(i), "path": None})
        case "aud":
            return Audio(decode=False), each(lambda i: {"bytes": wav(i), "path": None})
    raise AssertionError(kind)


def png(i):
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (4, 4), (4 * i, 90, 255 - 4 * i)).save(out, "PNG")
    return out.getvalue()


def wav(i):
    import soundfile

    out = io.BytesIO()
    values = np.random.default_rng(i).normal(scale=0.1, size=800)
    soundfile.write(out, values, 4000, format="WAV")
    return out.getvalue()


def written(path, schema):
    """A parquet file with these columns."""
    import pyarrow as pa
    from datasets import Dataset, Features

    columns = {}
    for field in schema.split():
        name, kind = field.split(":")
        columns[name] = column(name, kind, columns, random.Random(name))
    features = Features({name: feature for name, (feature, _) in columns.items()})
    schema = features.arrow_schema
    values = {name: pa.array(v, schema.field(name).type) for name, (_, v) in columns.items()}
    Dataset(pa.table(values, schema=schema)).to_parquet(path)
    return str(path)


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.partition(": ")[0])
def test_schemas_are_read_as_their_authors_meant_them(tmp_path, line):
    schema, _, expected = line.partition(": ")[2].partition(" -> ")
    reads, _, says = expected.partition(" # ")
    path = written(tmp_path / "x.parquet", schema)
    if reads == "refused":
        with pytest.raises(TargetError, match=says):
            load_target(path)
        return
    target = load_target(path)
    kind = "" if target.label_kind == "single-label" else f", {target.label_kind}"
    assert f"{target.input_column} by {target.label_column}{kind}" == reads
    warnings = [note for note in target.warnings if "was calibrated on single texts" not in note]
    assert re.search(says, " ".join(warnings)), warnings
    assert says or not warnings


def test_hidden_labels_of_well_known_datasets_are_counted(tmp_path):
    """snli has pairs without agreement among its annotators, the test split of glue no labels."""
    from datasets import ClassLabel, Dataset

    labels = [i % 4 - 1 for i in range(N)]
    data = Dataset.from_dict({"premise": [f"p {i}" for i in range(N)], "label": labels})
    data = data.add_column("hypothesis", [f"h {i}" for i in range(N)])
    kind = ClassLabel(names=["entailment", "neutral", "contradiction"])
    data.cast_column("label", kind).to_parquet(tmp_path / "x.parquet")
    target = load_target(str(tmp_path / "x.parquet"))
    assert target.left_out == {"no label": N // 4} and len(target.class_names) == 3


@pytest.mark.parametrize("label", ["label", "coarse_label", "target", "airline_sentiment"])
@pytest.mark.parametrize("ending", ["_text", "_name"])
def test_classes_that_are_only_numbered_get_their_names_from_the_column_beside(
    tmp_path, label, ending
):
    """As in the datasets of SetFit and of mteb. Features and fingerprint stay those of numbers."""
    written(tmp_path / "numbers.parquet", f"text:T {label}:n3")
    numbers = load_target(str(tmp_path / "numbers.parquet"))
    for order in ("{0}:n3 {0}{1}:same_{0}", "{0}:n3 id:I {0}{1}:same_{0}"):
        path = written(tmp_path / "x.parquet", f"text:T {order.format(label, ending)}")
        target = load_target(path)
        assert target.label_column == label
        assert numbers.class_names == ("0", "1", "2")
        assert target.class_names == ("class 0", "class 1", "class 2")
        assert target.labels.tolist() == numbers.labels.tolist()
        assert target.fingerprint == numbers.fingerprint
        assert not target.warnings


def test_names_of_many_classes_are_no_input(tmp_path):
    """Few of them repeat in the first rows, so that they look like texts."""
    from datasets import Dataset

    rows = [i % 90 for i in range(360)]
    data = {"class_name": [f"talks about thing {i}" for i in rows], "label": rows}
    data["utterance"] = [f"this is utterance {i} of somebody" for i in range(360)]
    Dataset.from_dict(data).to_parquet(tmp_path / "x.parquet")
    target = load_target(str(tmp_path / "x.parquet"))
    assert (target.input_column, target.label_column) == ("utterance", "label")
    assert target.class_names[:2] == ("talks about thing 0", "talks about thing 1")
    assert not target.warnings


NAMES = ["bad", "fair", "good"]


@pytest.mark.parametrize(
    ("number", "name"),
    [(-1, "bad"), (-1, None), (-1, ""), (None, "bad"), (None, ""), (None, None)],
)
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_rows_without_a_label_take_no_name_from_a_class(tmp_path, number, name, suffix):
    """A csv file with such rows holds floats."""
    from datasets import Dataset

    data = {"text": [f"this is text {i} of somebody" for i in range(N)]}
    data["label"] = [i % 3 if i % 5 else number for i in range(N)]
    data["label_text"] = [NAMES[i % 3] if i % 5 else name for i in range(N)]
    getattr(Dataset.from_dict(data), f"to_{suffix}")(tmp_path / f"x.{suffix}")
    target = load_target(str(tmp_path / f"x.{suffix}"))
    assert target.input_column == "text"
    assert target.class_names == tuple(NAMES)
    assert target.left_out == {"no label": N // 5}


@pytest.mark.parametrize("missing", [None, "", " "])
@pytest.mark.parametrize("rows", [range(1, N, 3), range(0, N, 7)], ids=["a class", "some rows"])
def test_a_class_without_a_name_keeps_all_numbers(tmp_path, missing, rows):
    from datasets import Dataset

    data = {"text": [f"this is text {i} of somebody" for i in range(N)]}
    data["label"] = [i % 3 for i in range(N)]
    data["label_text"] = [missing if i in rows else NAMES[i % 3] for i in range(N)]
    Dataset.from_dict(data).to_parquet(tmp_path / "x.parquet")
    assert load_target(str(tmp_path / "x.parquet")).class_names == ("0", "1", "2")


def test_different_texts_beside_different_numbers_are_no_names(tmp_path):
    path = written(tmp_path / "x.parquet", "target:i target_text:T")
    target = load_target(path, task="regression")
    assert (target.input_column, target.label_column) == ("target_text", "target")
    path = written(tmp_path / "x.parquet", "target:i target_text:T essay:T")
    for task in ("regression", "single-label"):
        with pytest.raises(TargetError, match="could be the input: target_text, essay"):
            load_target(path, task=task)


def test_a_message_about_columns_has_the_one_with_the_names_of_classes(tmp_path):
    path = written(tmp_path / "x.parquet", "label:n3 label_text:same_label")
    with pytest.raises(TargetError, match=r"Columns: label \(int64\), label_text \(string\)"):
        load_target(path)


def test_the_names_of_the_label_come_before_names_of_classes(tmp_path):
    from datasets import Dataset

    data = {"text": [f"this is text {i} of somebody" for i in range(N)]}
    data["class_name"] = ["ABC"[i % 3] for i in range(N)]
    data["label"] = [i % 3 for i in range(N)]
    data["label_text"] = [NAMES[i % 3] for i in range(N)]
    Dataset.from_dict(data).to_parquet(tmp_path / "x.parquet")
    assert load_target(str(tmp_path / "x.parquet")).class_names == tuple(NAMES)


@pytest.mark.parametrize(
    "schema", ["text:T label:n3 label_text:N3", "text:T label:n3 label_text:T", "text:T label:K3"]
)
def test_a_column_that_does_not_go_with_the_numbers_does_not_name_them(tmp_path, schema):
    target = load_target(written(tmp_path / "x.parquet", schema), input_column="text")
    names = ("label0", "label1", "label2") if schema.endswith("K3") else ("0", "1", "2")
    assert target.class_names == names


@pytest.mark.parametrize(
    "schema",
    ["comment_text:T id:I toxic:K2 obscene:K2", "ID:I Tweet:T joy:b love:b", "text:T a:n2 b:n2"],
)
def test_columns_of_two_values_are_several_labels_on_request(tmp_path, schema):
    path = written(tmp_path / "x.parquet", schema)
    with pytest.raises(TargetError, match=r"--task multi-label\.$"):
        load_target(path)
    target = load_target(path, task="multi-label")
    assert target.label_kind == "multi-label" and len(target.class_names) == 2


def test_ids_are_no_values_of_a_regression(tmp_path):
    path = written(tmp_path / "x.parquet", "idx:i text:T stars:n5 user_id:n5")
    assert load_target(path, task="regression").label_column == "stars"


def test_a_label_and_a_list_of_labels_are_asked_about(tmp_path):
    path = written(tmp_path / "x.parquet", "text:T category:N3 categories:LN4")
    with pytest.raises(TargetError, match="could be the label: category, categories"):
        load_target(path)


def test_the_columns_that_the_refusal_names_are_read_if_given(tmp_path):
    schema = "premise:T choice1:T choice2:T label:K2"
    path = written(tmp_path / "x.parquet", schema)
    target = load_target(path, input_column="premise")
    assert (target.input_column, target.label_column) == ("premise", "label")


def test_a_default_configuration_is_not_read_in_silence(tmp_path):
    """As in emotion, whose default is ``split``; tweet_eval has none, and its readers are asked."""
    for name in ("split", "unsplit"):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "train-00000-of-00001.parquet", "text:T label:K3")
    entry = "- config_name: {0}\n  data_files:\n  - split: train\n    path: {0}/train-*\n"
    first, second = map(entry.format, ("split", "unsplit"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{first}{second}---\n")
    with pytest.raises(TargetError, match=r"several configurations.*Allowed: split, unsplit"):
        load_target(str(tmp_path))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{first}  default: true\n{second}---\n")
    target = load_target(str(tmp_path))
    assert target.config == "split"
    assert any("'split' is read, the default one" in note for note in target.warnings)
    assert load_target(f"{tmp_path}:split").warnings == ()
