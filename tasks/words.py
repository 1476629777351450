"""The vocabulary that every generated text is made of.

All facts are random combinations of these words, so no fact can have been in a training set, while the words themselves are plain
English (or pronounceable inventions, for names). Each list holds single words, so that a small tokenizer can keep one token a word.
"""

from typing import Final


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GIVEN: Final = _split(
    "Mira Joren Talia Osric Petra Lucan Edda Bram Sunniva Corin Isolde Marek Yara Anselm Dova Kester Linnea Rufus Thea Ivo "
    "Hanne Cassian Ottilie Leif Maren Silas Wilma Tobias Greta Alaric Nora Felix Runa Casper Elin Matthis Saskia Hugo Vera Emeric "
    "Ingrid Jonas Liv Otto Rosalind Stellan Ursula Viggo"
)
FAMILY: Final = _split(
    "Tolvane Harrick Quillon Brandeth Ostrava Fennimore Larkspur Dunmere Vexley Calder Morrow Stannard Ibsworth Kestrelle Pellam "
    "Redgrave Sorley Thackery Umberland Varnholt Wexcombe Yarrow Zellner Ashdown Birchall Cranmoor Dacre Ellery Farrant Galloway "
    "Hollis Ingleby Jessop Kirkwall Lomax Mercer Norwood Oakes Pryce Ransome Selwyn Tremaine Underhill Vickery Whitlock Hartwell "
    "Bellamy Crowther"
)
TOWNS: Final = _split(
    "Harrowgate Belford Millbrook Stonehaven Eastmere Ravenport Oldcastle Fairwater Greenhollow Northwick Saltmarsh Thornbury "
    "Whitcombe Ashbourne Brightsea Coldspring Dunwich Elmstead Foxdale Glenmoor Highcross Kingsferry Lowfield Maplewood Newbridge "
    "Otterburn Pinecliff Rosefield Silverton Tidewell Upland Westhaven"
)

#: Forty kinds of thing. A kind is a class of the ICL tasks and, for some, the range of an attribute.
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "instrument": _split("cello harp flute violin trumpet drum banjo piano oboe lute"),
    "animal": _split("fox badger otter wolf hare deer goat pony lynx bear"),
    "bird": _split("falcon heron raven swan sparrow owl finch robin magpie crane"),
    "fish": _split("trout salmon pike carp herring tuna cod perch eel sturgeon"),
    "insect": _split("beetle moth cricket wasp hornet firefly ladybird grasshopper bumblebee mosquito"),
    "tree": _split("willow birch cedar maple pine larch poplar hazel beech chestnut"),
    "flower": _split("tulip lily daisy violet poppy lavender marigold peony jasmine thistle"),
    "fruit": _split("pear plum cherry fig quince lemon melon peach mango raspberry"),
    "vegetable": _split("carrot turnip leek spinach pumpkin cabbage radish parsnip celery fennel"),
    "dish": _split("soup stew pie porridge pancake dumpling risotto curry omelette casserole"),
    "spice": _split("pepper ginger cinnamon saffron nutmeg clove cumin paprika vanilla turmeric"),
    "drink": _split("tea coffee cider cocoa lemonade milk punch mead cordial broth"),
    "metal": _split("copper silver iron tin brass zinc gold nickel bronze lead"),
    "stone": _split("marble granite slate flint jade quartz ruby pearl topaz garnet"),
    "fabric": _split("silk linen velvet cotton wool canvas denim lace satin tweed"),
    "garment": _split("coat scarf glove hat cloak boot shirt jacket apron belt"),
    "tool": _split("hammer chisel wrench saw spade rake plough anvil drill trowel"),
    "vehicle": _split("cart wagon bicycle tram truck sledge carriage barge ferry canoe"),
    "furniture": _split("chair table bench cupboard shelf wardrobe stool sofa desk cradle"),
    "vessel": _split("kettle bottle barrel bucket jug teapot vase basket goblet flask"),
    "toy": _split("kite puppet marionette doll whistle balloon rattle puzzle yoyo hoop"),
    "game": _split("chess poker dominoes checkers backgammon solitaire bingo roulette charades hopscotch"),
    "sport": _split("rowing archery fencing cricketball wrestling skating cycling boxing sailing climbing"),
    "dance": _split("waltz tango polka samba foxtrot minuet ballet rumba jig quickstep"),
    "colour": _split("red blue green yellow purple orange white black grey pink"),
    "shape": _split("circle square triangle oval cube sphere cone pyramid spiral hexagon"),
    "trade": _split("baker tailor mason weaver potter cobbler printer gardener butcher carpenter"),
    "room": _split("kitchen attic cellar parlour pantry library bedroom hallway study nursery"),
    "building": _split("windmill lighthouse church barn tower castle bakery station museum warehouse"),
    "land": _split("valley meadow cliff island forest marsh desert canyon glacier beach"),
    "weather": _split("rain snow fog hail thunder drizzle frost sunshine breeze sleet"),
    "body": _split("elbow knee shoulder ankle wrist thumb chin forehead rib spine"),
    "mood": _split("joy anger sorrow pride envy hope fear shame relief boredom"),
    "science": _split("botany chemistry geology physics astronomy zoology algebra geometry optics medicine"),
    "coin": _split("penny florin crown shilling guinea ducat dollar farthing dinar peso"),
    "sweet": _split("toffee fudge nougat caramel licorice marzipan praline sherbet truffle meringue"),
    "event": _split("flood fire parade festival strike wedding auction election storm robbery"),
    "writing": _split("letter diary novel poem ballad essay sermon recipe newspaper dictionary"),
    "music": _split("opera sonata hymn anthem lullaby march symphony serenade chorus overture"),
    "light": _split("lantern candle torch lamp beacon bonfire match chandelier spark moonlight"),
}

SEASONS: Final = _split("spring summer autumn winter")
#: Adjectives for keys ("the amber falcon"); no overlap with KINDS, so that a key word never stands for something else.
ADJECTIVES: Final = _split(
    "amber crimson hollow gentle ancient broken hidden golden quiet frozen wooden narrow distant rusty clever lonely painted sunken "
    "woven marbled bitter stolen borrowed crooked dusty faded gilded humble ivory jagged lively mossy nimble ornate pale ragged "
    "sacred tangled upright velvety weary young zealous bright curved double early foreign grand heavy inner loose modern noble "
    "outer plain rapid shallow tall unusual vivid wild"
)
#: Nouns for keys and JSON values, drawn from kinds of solid things.
NOUNS: Final = tuple(
    word for kind in ("bird", "animal", "tree", "tool", "vessel", "light", "garment", "furniture") for word in KINDS[kind][:8]
)
