"""How the shipped model was made: its corpus, its tokenizer, its training. Nothing at run time needs it."""
