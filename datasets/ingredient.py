"""Sacred ingredient `data`: which data set, in which variant."""

from sacred import Ingredient

from debiaslab.datasets import default_setting

data = Ingredient("data", _caller_globals=globals(), save_git_info=False)


@data.config
def source():
    name = "digits"  # data set
    root = "data"  # folder of the downloaded files
    protocol = "holdout"  # holdout: validate on images kept out of training; published: split as the papers do
    seed = 0  # of the data (colour noise), independent of the run's seed


@data.config
def variant(name):
    # a setting that the data set does not have is None
    arrays = default_setting(name, "arrays")  # a ready-made LfF/DeNetDM array folder to read instead
    skew = default_setting(name, "skew", arrays)  # fraction of bias-conflicting training images
    severity = default_setting(name, "severity", arrays)  # how strong the bias is in an image
    corruptions = default_setting(name, "corruptions", arrays)  # type0, type1, or ten names: what biases the images
    rho = default_setting(name, "rho")  # fraction of the training images that have the usual bias of their class
    n_confusing = default_setting(name, "n_confusing")  # biases of the other training images of a class
    percent = default_setting(name, "percent")  # of the training images that conflict with the bias
    image_size = default_setting(name, "image_size")  # pixels, height and width of what the networks see
    reverse = default_setting(name, "reverse")  # swap the roles of target and bias
    imagenet = default_setting(name, "imagenet")  # folder of ImageNet, in root unless the path is absolute
    imagenet_a = default_setting(name, "imagenet_a")  # folder of ImageNet-A, alike; None: not tested on
    imagenet_c = default_setting(name, "imagenet_c")  # folder of ImageNet-C, alike; None: not tested on
    clusters = default_setting(name, "clusters")  # where texture clusters come from: vgg16, none, or a CSV file
    vgg16 = default_setting(name, "vgg16")  # file of torchvision's VGG-16 weights; None: downloaded
    frames = default_setting(name, "frames")  # of a clip
    stride = default_setting(name, "stride")  # from one frame of a clip to the next
    csv = default_setting(name, "csv")  # the CSV of the user's own images
    augment = default_setting(name, "augment")  # random change of training images
    normalize = default_setting(name, "normalize")  # statistics of the channels
    target_attribute = default_setting(name, "target_attribute")  # what is to be learnt
    bias_attribute = default_setting(name, "bias_attribute")  # what usually comes with it
    cache = default_setting(name, "cache")  # folder of built data sets; None: <root>/cache
