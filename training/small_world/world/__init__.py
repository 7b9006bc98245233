"""What is shown: clips drawn from formulas, their captions, their styles, and the judge who reads them."""
