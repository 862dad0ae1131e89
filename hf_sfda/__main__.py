"""``python -m hf_sfda`` is ``hf-sfda``, so that ``accelerate launch -m hf_sfda rank`` works."""

from hf_sfda.cli import main

if __name__ == "__main__":
    main()
