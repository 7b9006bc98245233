"""The world itself: clips drawn from formulas, their captions and styles, and the judge that reads them."""
