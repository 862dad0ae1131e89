"""``python -m hf_sfda`` runs ``hf-sfda``; ``accelerate launch -m hf_sfda rank`` needs it."""

from hf_sfda.cli import main

if __name__ == "__main__":
    main()
